"""What holds for every list of every protocol, on made-up data sets with swaps, copies and uneven strata."""

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
    """Some 120 people: of uneven races, a fifth with real clips only; swaps with people who may have no clips at all.

    Returns clips and near-duplicates among those of different people.
    """
    rng = random.Random(seed)
    people = []
    for race, gender in (("African", "men"), ("African", "women"), ("Asian", "men"), ("unknown", "women")):
        people += [(f"id{len(people) + i:03d}", race, gender) for i in range(rng.randrange(15, 46))]
    strangers = [f"stranger{i}" for i in range(10)]
    clips = []
    for person, race, gender in people:
        facts = {"race": race, "gender": gender}
        if rng.random() < 0.2:
            clips += [meta(person, "RVRA", 50 + n, **facts) for n in range(rng.randrange(1, 4))]
            continue
        for number, (tier, method) in enumerate(KINDS * 2):
            others = (people[rng.randrange(len(people))][0], rng.choice(strangers)) if "swap" in method else ()
            shown = tuple(dict.fromkeys([person, *others[: rng.randrange(1, 3)]]))
            clips.append(
                meta(person, tier, number, method=method, identities=shown, base=f"{person}/{number % 2}", **facts)
            )
    same_file, same_base = rng.sample(range(len(clips)), 6), rng.sample(range(len(clips)), 6)
    for changed, field in ((same_file, "sha256"), (same_base, "base")):
        for one, other in zip(changed[::2], changed[1::2], strict=True):
            clips[other] = replace(clips[other], **{field: getattr(clips[one], field)})
    copies = [[clip.source for clip in rng.sample(clips, rng.randrange(2, 4))] for _ in range(8)]
    return clips, copies


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_crosses(protocol, seed):
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
def test_order_does_not_matter_and_the_seed_does(protocol):
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
def test_every_stratum_is_shared_out_to_within_one_person(protocol, seed):
    clips = [clip for clip in data_set(seed)[0] if len(clip.identities) == 1]  # nobody is left out
    strata = strata_of(clips, attrgetter("tier"))
    (chosen,) = make(protocol, clips, seed, {}).values()
    people = {row.identity: row.split for row in chosen.rows}
    sizes = Counter(strata.values())
    counts = Counter((strata[person], split) for person, split in people.items())
    for stratum, size in sizes.items():
        for split, share in SHARES[protocol].items():
            assert abs(counts[stratum, split] - share * size) < 1


@pytest.mark.parametrize("seed", range(4))
def test_folds_are_alike(seed):
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
def test_dealing_keeps_the_shares_of_strata_and_of_all(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, rng.integers(1, 40))
    strata = {f"{number}-{i}": Stratum(str(number), "", ()) for number, size in enumerate(sizes) for i in range(size)}
    shares = dict(zip("abcde", rng.dirichlet(np.ones(rng.integers(2, 6))), strict=False))
    part_of = deal(strata, shares, rng)
    assert part_of.keys() == strata.keys()
    counts = Counter((strata[person].race, part) for person, part in part_of.items())
    for part, share in shares.items():
        assert all(abs(counts[str(number), part] - share * size) < 1 for number, size in enumerate(sizes))
        assert abs(sum(p == part for p in part_of.values()) - share * len(strata)) < 2
