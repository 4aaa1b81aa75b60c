"""Five folds of people: balanced, disjoint, without anybody of another split, and refused where clips are missing."""

import csv
import json
from collections import Counter

import pytest

from avdfd import folds
from avdfd.config import MrdfConfig, parse
from avdfd.datasets.splits import Lists, assign, read_splits
from avdfd.errors import UserError
from avdfd.folds import CATEGORIES, as_csv, fold_configs, make_folds, summarise
from tests.elements import meta


def people(count):
    return [meta(f"id{i}", tier, clip) for i in range(count) for tier in CATEGORIES for clip in range(2)]


def test_a_clip_of_each_category_for_every_person():
    made = make_folds(people(20), 5, validation=0.25, seed=0)
    tested = Counter(row.identity for fold in made for row in fold if row.split == "test")
    assert set(tested) == {f"id{i}" for i in range(20)}
    assert set(tested.values()) == {4}, "everybody is tested once, with four clips"
    for fold in made:
        split_of = {row.identity: row.split for row in fold}
        assert Counter(split_of.values()) == {"train": 12, "validation": 4, "test": 4}
        for split in ("train", "validation", "test"):
            folders = Counter(row.source.split("/")[0] for row in fold if row.split == split)
            assert len(folders) == 4
            assert len(set(folders.values())) == 1, "1:1:1:1"


def test_folds_depend_on_the_seed_alone():
    metas = people(20)
    assert make_folds(metas, 5, 0.25, 0) == make_folds(metas[::-1], 5, 0.25, 0)
    assert make_folds(metas, 5, 0.25, 0) != make_folds(metas, 5, 0.25, 1)


def test_fakes_that_show_somebody_of_another_split_are_not_chosen():
    metas = [m for m in people(20) if m.tier != "FVRA"]
    for one in range(20):
        metas += [meta(f"id{one}", "FVRA", c, identities=(f"id{one}", f"id{(one + c) % 20}")) for c in range(1, 20)]
    shown = {m.source: m.identities for m in metas}
    for fold in make_folds(metas, 5, 0.25, 0):
        split_of = {row.identity: row.split for row in fold}
        for row in fold:
            assert {split_of.get(identity, row.split) for identity in shown[row.source]} == {row.split}
        assert len(assign(metas, read_lists(fold))["test"]) == Counter(row.split for row in fold)["test"]


def read_lists(fold):
    return Lists("fold", {row.identity: row.split for row in fold}, frozenset(row.source for row in fold))


def test_too_few_people():
    with pytest.raises(UserError, match="14 people have clips of all of RVRA, RVFA, FVRA, FVFA; 5 folds take 15"):
        make_folds([*people(14), meta("lonely", "RVRA")], 5, 0.25, 0)


@pytest.fixture
def fold_file(tmp_path):
    path = tmp_path / "fold_1.csv"
    path.write_text(as_csv(make_folds(people(15), 5, 0.25, 0)[0]))
    return path


def test_a_fold_file_is_read_as_it_was_written(fold_file):
    lists = read_splits(fold_file)
    assert lists.clips is not None
    assert len(lists.clips) == 4 * len(lists.split_of)
    members = assign(people(15), lists)
    assert sum(map(len, members.values())) == len(lists.clips)


def test_unknown_people_and_clips_are_refused(fold_file):
    lists = read_splits(fold_file)
    with pytest.raises(UserError, match=r"fold_1\.csv: names 1 identities without elements, e\.g\. 'id14'"):
        assign(people(14), lists)
    missing = [m for m in people(15) if not (m.identities == ("id3",) and m.tier == "FVRA")]
    with pytest.raises(UserError, match=r"fold_1\.csv: names 1 clips without elements, e\.g\. 'FakeVideo-RealAudio"):
        assign(missing, lists)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [["split", "who", "source"], *rows[1:]], "its columns are"),
        (lambda rows: [*rows, ["tset", "id1", "x"]], "line 62: write train or validation or test"),
        (lambda rows: [*rows, ["train", "", "x"]], "line 62: write train or"),
        (lambda rows: [*rows, ["train", rows[1][1], "x"], ["test", rows[1][1], "x"]], "is in two splits"),
        (lambda rows: [row for row in rows if row[0] != "validation"], "names nobody for validation"),
    ],
)
def test_wrong_fold_files(fold_file, change, message):
    with fold_file.open(newline="") as file:
        rows = list(csv.reader(file))
    with fold_file.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))
    with pytest.raises(UserError, match=message):
        read_splits(fold_file)


def test_configs_of_the_folds(fold_file):
    data = {"splits": "s", "fake_tiers": ["RVFA"]}
    cfg = parse({"name": "m", "data": data}, MrdfConfig, "test")
    (one,) = fold_configs(cfg, fold_file.parent)
    assert (one.name, one.data.splits) == ("m-fold_1", str(fold_file))
    assert cfg.data.splits == "s"
    with pytest.raises(UserError, match=r"no fold_\*\.csv here"):
        fold_configs(cfg, fold_file.parent / "none")


def test_mean_and_deviation_over_folds(tmp_path):
    paths = []
    for number, auc in enumerate((0.8, 0.9, 1.0)):
        metrics = {"auc": auc, "ap": 0.5, "balanced_accuracy": 0.5, "eer": 0.1}
        report = {"main": "fused", "overall": {"fused": metrics}, "tiers": {"RVFA": {"fused": metrics}}}
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(report))
    summary = summarise(paths)
    assert summary["metrics"]["overall"]["auc"] == {
        "mean": pytest.approx(0.9), "deviation": pytest.approx(0.1), "folds": [0.8, 0.9, 1.0],
    }  # fmt: skip
    assert "auc 0.900 ± 0.100" in folds.as_text(summary)
