"""Properties of all lists of all protocols, on synthetic data with face swaps, near-duplicates and uneven strata."""

import random
from collections import Counter
from dataclasses import replace
from operator import attrgetter

import numpy as np
import pytest

from avdfd.splits.lists import SPLITS
from avdfd.splits.strata import Stratum, deal, strata_of
from data.preprocessing.make_splits import SHARES, make
from tests.unit.elements import meta

PROTOCOLS = [*SHARES, "mrdf_5fold"]
KINDS = (
    ("RVRA", "real"),
    ("RVFA", "rtvc"),
    ("FVRA", "wav2lip"),
    ("FVRA", "faceswap"),
    ("FVFA", "wav2lip"),
    ("FVFA", "faceswap-wav2lip"),
    ("FVFA", "fsgan-wav2lip"),
)


def data_set(seed):
    """Return clips, and groups of near-duplicates among them.

    There are about 120 identities, unevenly distributed over races. A fifth of them have real clips only; some face
    swaps are with identities that have no clips.
    """
    rng = random.Random(seed)
    identities = []
    for race, gender in (("African", "men"), ("African", "women"), ("Asian", "men"), ("unknown", "women")):
        identities += [(f"id{len(identities) + i:03d}", race, gender) for i in range(rng.randrange(15, 46))]
    strangers = [f"stranger{i}" for i in range(10)]
    clips = []
    for identity, race, gender in identities:
        facts = {"race": race, "gender": gender}
        if rng.random() < 0.2:
            clips += [meta(identity, "RVRA", 50 + n, **facts) for n in range(rng.randrange(1, 4))]
            continue
        for number, (tier, method) in enumerate(KINDS * 2):
            others = (identities[rng.randrange(len(identities))][0], rng.choice(strangers)) if "swap" in method else ()
            shown = tuple(dict.fromkeys([identity, *others[: rng.randrange(1, 3)]]))
            clips.append(
                meta(identity, tier, number, method=method, identities=shown, base=f"{identity}/{number % 2}", **facts)
            )
    same_file, same_base = rng.sample(range(len(clips)), 6), rng.sample(range(len(clips)), 6)
    for changed, field in ((same_file, "sha256"), (same_base, "base")):
        for one, other in zip(changed[::2], changed[1::2], strict=True):
            clips[other] = replace(clips[other], **{field: getattr(clips[one], field)})
    copies = [[clip.source for clip in rng.sample(clips, rng.randrange(2, 4))] for _ in range(8)]
    return clips, copies


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_splits_are_disjoint(protocol, seed):
    clips, copies = data_set(seed)
    by_source = {clip.source: clip for clip in clips}
    for chosen in make(protocol, clips, seed, {}, copies).values():
        split_of = {row.source: row.split for row in chosen.rows}
        assert len(split_of) == len(chosen.rows), "no clip is listed twice"
        seen = {}
        for source, split in split_of.items():
            clip = by_source[source]
            for thing in (*clip.identities, ("file", clip.sha256), ("clip", clip.base)):
                assert seen.setdefault(thing, split) == split
        for group in copies:
            assert len({split_of[source] for source in group if source in split_of}) <= 1
        for split in SPLITS:
            labels = {by_source[source].label for source in split_of if split_of[source] == split}
            assert labels == ({0} if (protocol, split) == ("real_only", "train") else {0, 1})
        assert all(row.identity == by_source[row.source].identities[0] for row in chosen.rows)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lists_depend_on_the_seed_and_not_on_the_order(protocol):
    clips, copies = data_set(7)
    rng = random.Random(0)
    shuffled = rng.sample(clips, len(clips)), [rng.sample(group, len(group)) for group in rng.sample(copies, 8)]
    made = make(protocol, clips, 3, {}, copies)
    again = make(protocol, shuffled[0], 3, {}, shuffled[1])
    assert {name: (one.rows, one.left_out) for name, one in made.items()} == {
        name: (one.rows, one.left_out) for name, one in again.items()
    }
    assert made.keys() == make(protocol, clips, 4, {}, copies).keys()
    assert all(made[name].rows != other.rows for name, other in make(protocol, clips, 4, {}, copies).items())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", sorted(SHARES.keys() - {"leave_one_method_out"}))
def test_shares_of_every_stratum_are_right_up_to_one_identity(protocol, seed):
    clips = [clip for clip in data_set(seed)[0] if len(clip.identities) == 1]  # so no clip is left out
    strata = strata_of(clips, attrgetter("tier"))
    (chosen,) = make(protocol, clips, seed, {}).values()
    identities = {row.identity: row.split for row in chosen.rows}
    sizes = Counter(strata.values())
    counts = Counter((strata[identity], split) for identity, split in identities.items())
    for stratum, size in sizes.items():
        for split, share in SHARES[protocol].items():
            assert abs(counts[stratum, split] - share * size) < 1


@pytest.mark.parametrize("seed", range(4))
def test_folds_have_equal_shares_of_strata(seed):
    clips = [clip for clip in data_set(seed)[0] if len(clip.identities) == 1]
    strata = {p: s for p, s in strata_of(clips, attrgetter("tier")).items() if len(s.kinds) == 4}
    sizes = Counter((s.race, s.gender) for s in strata.values())
    for fold in make("mrdf_5fold", clips, seed, {}).values():
        split_of = {row.identity: row.split for row in fold.rows}
        counts = Counter((strata[p].race, strata[p].gender, split) for p, split in split_of.items())
        for (race, gender), size in sizes.items():
            assert abs(counts[race, gender, "test"] - size / 5) < 1
            others = size - counts[race, gender, "test"]
            assert abs(counts[race, gender, "validation"] - others / 8) < 1


@pytest.mark.parametrize("seed", range(20))
def test_deal_keeps_the_shares_of_strata_and_of_all(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, rng.integers(1, 40))
    strata = {f"{number}-{i}": Stratum(str(number), "", ()) for number, size in enumerate(sizes) for i in range(size)}
    shares = dict(zip("abcde", rng.dirichlet(np.ones(rng.integers(2, 6))), strict=False))
    part_of = deal(strata, shares, rng)
    assert part_of.keys() == strata.keys()
    counts = Counter((strata[identity].race, part) for identity, part in part_of.items())
    for part, share in shares.items():
        assert all(abs(counts[str(number), part] - share * size) < 1 for number, size in enumerate(sizes))
        assert abs(sum(p == part for p in part_of.values()) - share * len(strata)) < 2
