"""The clips of a list, --csv: metrics, predictions, and lists that do not fit the store."""

import csv

import pytest

import evaluate
from avdfd.core import tiers
from tests.helpers.evaluation import refused, report_of, rows_of
from tests.helpers.runs import SPLITS


def write_list(path, rows):
    path.write_text("video_name,target\n" + "".join(f"{source},{target}\n" for source, target in rows))
    return str(path)


TESTED = [
    (f"{tiers.tier(name).folder}/Asian/men/{identity}/00000.mp4", tiers.tier(name).label)
    for identity in SPLITS["test"]
    for name in ("RVRA", "RVFA")
]


def test_the_clips_of_a_list_get_metrics_and_a_prediction(evaluated, tmp_path, capsys):
    """Their eval.py writes prediction.csv alone; rows without elements have no score in it, and are counted."""
    absolute = write_list(tmp_path / "absolute.csv", [(f"{tmp_path}/{source}", label) for source, label in TESTED])
    options = ["--bootstrap", "0", "--batch-size", "5", "--name", "listed"]
    evaluate.main(["--run", str(evaluated), "--csv", absolute, "--videos", str(tmp_path), *options])
    scored = {row["clip"]: row["fused"] for row in rows_of(evaluated, "listed")}
    assert scored.keys() == {source for source, _ in TESTED}
    everything = {row["clip"]: row["fused"] for row in rows_of(evaluated)}
    assert {clip: float(score) for clip, score in scored.items()} == pytest.approx(
        {clip: float(everything[clip]) for clip in scored}, abs=1e-6
    )
    relative = write_list(tmp_path / "testset.csv", [*TESTED, ("gone/1.mp4", 1)])
    capsys.readouterr()
    evaluate.main(["--run", str(evaluated), "--csv", relative, *options])
    assert "eval/listed/prediction.csv: 6 of 7 videos have a score" in capsys.readouterr().out
    with (evaluated / "eval" / "listed" / "prediction.csv").open() as file:
        rows = [*csv.reader(file)]
    assert rows == [
        ["video_name", "y_pred"], *([source, scored[source]] for source, _ in TESTED), ["1.mp4", ""]
    ], "all files have one name, so their paths are given"  # fmt: skip
    assert report_of(evaluated, "listed")["listed"] == {"videos": 7, "scored": 6, "repeated": 0}


def test_refuses_lists_that_do_not_fit_the_store(run, tmp_path):
    def refused_list(rows, *options):
        return refused(run, "--csv", write_list(tmp_path / "list.csv", rows), *options)

    assert "line 2: an absolute path: name the root of the videos with --videos" in refused_list([("/data/x.mp4", 0)])
    assert "the store has none of its 1 videos, e.g. 'x.mp4', but 'Fake" in refused_list([("x.mp4", 0)])
    wrong = [(source, 1 - label) for source, label in TESTED]
    assert "00000.mp4' has target 0, but label 1 in the store" in refused_list(wrong)
    assert "split 'all' has only fake elements" in refused_list([row for row in TESTED if row[1]])
    assert "there is no --split" in refused_list(TESTED, "--split", "test")
