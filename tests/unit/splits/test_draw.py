"""Protocols: splits are disjoint in identities, clips and near-duplicates, balanced, and determined by the seed."""

import csv
import json
from collections import Counter

import pytest

from avdfd.core.errors import UserError
from avdfd.splits import draw
from avdfd.splits.draw import CATEGORIES, balanced_folds, fractions
from avdfd.splits.files import save
from avdfd.splits.lists import Lists, assign, read_splits
from tests.unit.elements import meta

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def synthetic_clips(count, **changes):
    return [meta(f"id{i:02d}", tier, clip, **changes) for i in range(count) for tier in CATEGORIES for clip in range(2)]


def lists_of(rows):
    return Lists("list", {row.identity: row.split for row in rows}, frozenset(row.source for row in rows))


def swaps(count):
    """Return face swaps of every pair of identities."""
    return [
        meta(
            f"id{one:02d}",
            "FVFA",
            100 + other,
            identities=(f"id{one:02d}", f"id{other:02d}"),
            base=f"swap{one}-{other}",
        )
        for one in range(count)
        for other in range(count)
        if one != other
    ]


def test_shares_hold_within_race_and_gender():
    clips = synthetic_clips(20, race="Asian") + [
        meta(f"w{i:02d}", tier, gender="women") for i in range(20) for tier in CATEGORIES
    ]  # fmt: skip
    rows = fractions(clips, SHARES, seed=0).rows
    for prefix in ("id", "w"):
        counts = Counter(
            split for identity, split in {(r.identity, r.split) for r in rows} if identity.startswith(prefix)
        )
        assert counts == {"train": 14, "validation": 3, "test": 3}
    assert len(rows) == len(clips), "nothing is left out"
    assert rows == fractions(clips[::-1], SHARES, seed=0).rows, "order does not matter"
    assert rows != fractions(clips, SHARES, seed=1).rows


def test_face_swaps_between_splits_are_left_out_and_counted():
    clips = synthetic_clips(20) + swaps(20)
    chosen = fractions(clips, SHARES, seed=0)
    split_of = {row.identity: row.split for row in chosen.rows}
    shown = {clip.source: clip.identities for clip in clips}
    for row in chosen.rows:
        assert {split_of[identity] for identity in shown[row.source]} == {row.split}
    assert chosen.left_out["has identities of two splits"] == len(clips) - len(chosen.rows) > 0
    assert assign(clips, lists_of(chosen.rows))["test"], "as the loaders do"


def test_near_duplicates_are_in_one_split():
    clips = synthetic_clips(20)
    copies = [[clips[i].source for i in range(0, len(clips), 8)]]
    chosen = fractions(clips, SHARES, seed=0, duplicates=copies)
    kept = {row.source: row.split for row in chosen.rows}
    assert {kept[source] for source in copies[0] if source in kept} == {"test"}, "the test clip is kept"
    assert chosen.left_out["near-duplicate of a clip of another split"] == sum(
        source not in kept for source in copies[0]
    )
    same_file = [meta("id00", "RVRA", 7, sha256="x"), meta("id19", "RVRA", 7, sha256="x")]
    for seed in range(5):
        rows = fractions(clips + same_file, SHARES, seed).rows
        assert len({row.split for row in rows if row.source.endswith("00007.mp4")}) <= 1


def test_given_lists():
    given = {f"id{i:02d}": "train" if i < 14 else "held" for i in range(20)}
    rows = fractions(synthetic_clips(20), SHARES, seed=3, given=given).rows
    splits = {row.identity: row.split for row in rows}
    assert {splits[f"id{i:02d}"] for i in range(14)} == {"train"}
    assert Counter(splits[f"id{i:02d}"] for i in range(14, 20)) == {"validation": 3, "test": 3}
    with pytest.raises(UserError, match="name 1 identities without clips, e.g. 'stranger'"):
        fractions(synthetic_clips(20), SHARES, seed=3, given={"stranger": "train"})


def test_left_out_method_is_only_tested():
    methods = {"RVFA": "rtvc", "FVRA": "wav2lip", "FVFA": "fsgan-wav2lip", "RVRA": "real"}
    clips = [meta(f"id{i:02d}", tier, method=method) for i in range(20) for tier, method in methods.items()]
    clips += [meta(f"id{i:02d}", "FVFA", 5, method="wav2lip") for i in range(20)]
    method_of = {clip.source: (clip.tier, clip.method) for clip in clips}
    rows = fractions(clips, SHARES, seed=0, keep=draw.without("FVFA-WL")).rows
    of = {split: {method_of[row.source] for row in rows if row.split == split} for split in SHARES}
    assert of["test"] == {("RVRA", "real"), ("FVFA", "wav2lip")}
    assert of["train"] == of["validation"] == set(method_of.values()) - {("FVFA", "wav2lip")}
    rows = fractions(clips, SHARES, seed=0, keep=draw.without("RVFA")).rows
    assert {method_of[row.source][0] for row in rows if row.split == "test"} == {"RVRA", "RVFA"}


def test_real_only_trains_on_real_clips():
    rows = fractions(synthetic_clips(20), SHARES, seed=0, keep=draw.real_only).rows
    assert {row.source.split("/")[0] for row in rows if row.split == "train"} == {"RealVideo-RealAudio"}
    assert len({row.source.split("/")[0] for row in rows if row.split == "test"}) == 4


def test_folds_have_one_clip_per_identity_and_category():
    made = balanced_folds(synthetic_clips(20), 5, validation=0.25, seed=0)
    tested = Counter(row.identity for fold in made for row in fold.rows if row.split == "test")
    assert len(tested) == 20
    assert set(tested.values()) == {4}, "every identity is tested once, with four clips"
    for fold in made:
        split_of = {row.identity: row.split for row in fold.rows}
        assert Counter(split_of.values()) == {"train": 12, "validation": 4, "test": 4}
        for split in ("train", "validation", "test"):
            folders = Counter(row.source.split("/")[0] for row in fold.rows if row.split == split)
            assert len(folders) == 4
            assert len(set(folders.values())) == 1, "1:1:1:1"


def test_folds_of_given_training_lists():
    clips = synthetic_clips(20)
    everybody = sorted({clip.identities[0] for clip in clips})
    lists = [everybody[:15], everybody[5:]]
    for listed, fold in zip(lists, balanced_folds(clips, 2, 0.2, 0, trained_on=lists), strict=True):
        split_of = {row.identity: row.split for row in fold.rows}
        assert {i for i, split in split_of.items() if split == "test"} == {*everybody} - {*listed}
        assert Counter(split_of.values()) == {"train": 12, "validation": 3, "test": 5}
    with pytest.raises(UserError, match="name 16 identities, 1 of them without clips, e.g. 'nobody'"):
        balanced_folds(clips, 1, 0.2, 0, trained_on=[[*everybody[:15], "nobody"]])


def test_folds_have_no_fakes_with_identities_of_another_split():
    clips = [m for m in synthetic_clips(20) if m.tier != "FVFA"] + swaps(20)
    shown = {clip.source: clip.identities for clip in clips}
    for fold in balanced_folds(clips, 5, 0.25, 0):
        split_of = {row.identity: row.split for row in fold.rows}
        for row in fold.rows:
            assert {split_of.get(identity, row.split) for identity in shown[row.source]} == {row.split}


def test_too_few_identities():
    with pytest.raises(UserError, match="14 identities have clips of all of RVRA, RVFA, FVRA, FVFA; 5 folds need 15"):
        balanced_folds([*synthetic_clips(14), meta("lonely", "RVRA")], 5, 0.25, 0)
    with pytest.raises(UserError, match="too few identities: no clip is left for"):
        fractions(synthetic_clips(2), SHARES, 0)


@pytest.fixture
def written(tmp_path):
    clips = synthetic_clips(20)
    lists = {"fold_1": balanced_folds(clips, 5, 0.25, 0)[0], "other": fractions(clips, SHARES, 0)}
    lines = save(tmp_path, "some", 0, lists, clips)
    assert lines[0].startswith(f"{tmp_path}/fold_1.csv: 80 clips; identities: ")
    return tmp_path / "fold_1.csv"


def test_written_list_is_read(written):
    facts = json.loads((written.parent / "split.json").read_text())
    assert (facts["protocol"], facts["seed"], set(facts["lists"])) == ("some", 0, {"fold_1.csv", "other.csv"})
    lists = read_splits(written)
    members = assign(synthetic_clips(20), lists)
    for split, counts in facts["lists"]["fold_1.csv"]["clips"].items():
        assert sum(counts.values()) == len(members[split])
    assert len(lists.split_of) == sum(facts["lists"]["fold_1.csv"]["identities"].values()) == 20


def test_changed_list_is_refused(written):
    text = written.read_text()
    written.write_text(text.replace("train", "test", 1))
    with pytest.raises(UserError, match=r"fold_1\.csv: does not have the hash that .*split\.json states"):
        read_splits(written)
    written.write_text(text)
    read_splits(written)


def test_identities_and_clips_without_elements_are_refused(written):
    lists = read_splits(written)
    with pytest.raises(UserError, match=r"fold_1\.csv: names 1 identities without elements, e\.g\. 'id19'"):
        assign(synthetic_clips(19), lists)
    missing = [m for m in synthetic_clips(20) if not (m.identities == ("id03",) and m.tier == "FVRA")]
    with pytest.raises(UserError, match=r"fold_1\.csv: names 1 clips without elements, e\.g\. 'FakeVideo-RealAudio"):
        assign(missing, lists)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [["split", "who", "source"], *rows[1:]], "its columns are"),
        (lambda rows: [*rows, ["tset", "id01", "x"]], "line 82: write train or validation or test"),
        (lambda rows: [*rows, ["train", "", "x"]], "line 82: write train or"),
        (lambda rows: [*rows, ["train", rows[1][1], "x"], ["test", rows[1][1], "x"]], "is in two splits"),
        (lambda rows: [row for row in rows if row[0] != "validation"], "has no identities for validation"),
    ],
)
def test_invalid_lists_are_refused(written, change, message):
    (written.parent / "split.json").unlink()
    with written.open(newline="") as file:
        rows = list(csv.reader(file))
    with written.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))
    with pytest.raises(UserError, match=message):
        read_splits(written)


VFD = {"train": 2, "validation": 2, "test": 1}


def split_numbers(clips, **more):
    """Return the number of real and of fake clips of each split."""
    tier_of = {clip.source: clip.tier for clip in clips}
    rows = fractions(clips, SHARES, 0, least=VFD, **more).rows
    return Counter((row.split, "real" if tier_of[row.source] == "RVRA" else "fake") for row in rows)


def test_few_identities_are_enough_for_every_split():
    real = [meta(f"r{i}", "RVRA") for i in range(9)]
    assert split_numbers(real[:5]) == {("train", "real"): 2, ("validation", "real"): 2, ("test", "real"): 1}
    assert split_numbers(real[:4]) == {("train", "real"): 2, ("validation", "real"): 1, ("test", "real"): 1}
    assert split_numbers(real[:3]) == {("train", "real"): 1, ("validation", "real"): 1, ("test", "real"): 1}
    with pytest.raises(
        UserError, match=r"no clip is left for test; identities with real clips: 2, with fakes: 0; every"
    ):
        split_numbers(real[:2])
    both = [*real[:6], *(meta(f"f{i}", "FAKE") for i in range(3))]
    found = split_numbers(both)
    assert {split: found[split, "fake"] for split in SHARES} == {"train": 1, "validation": 1, "test": 1}
    assert [found[split, "real"] >= VFD[split] for split in SHARES] == [True, True, True]
    with pytest.raises(UserError, match=r"no fake is left for test; identities with real clips: 6, with fakes: 2"):
        split_numbers(both[:-1])


def test_identities_for_matching_alone_are_not_tested():
    clips = [meta(f"id{i}", "RVRA") for i in range(20)] + [meta(f"r{i}", "RVRA") for i in range(3)]
    given = {f"id{i}": "untested" for i in range(20)}
    rows = fractions(clips, SHARES, 0, least=VFD, given=given).rows
    assert {row.identity[0] for row in rows if row.split == "test"} == {"r"}
    assert {row.split for row in rows if row.identity in given} == {"train", "validation"}
