"""Scores from a file, judged: the figures of the run that they are of, and what takes no part."""

import csv
import json

import pytest

from avdfd import report
from avdfd.core.errors import UserError
from avdfd.evaluation.evaluate import Request, evaluate
from avdfd.evaluation.outside import judge
from avdfd.evaluation.score_file import ScoreFile
from avdfd.report import files
from tests.helpers.runs import make_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


@pytest.fixture(scope="module")
def run(small_store, tmp_path_factory):
    """A run of stage 2 with validation and test evaluated, and their scores as others would write them."""
    run = make_run(tmp_path_factory.mktemp("runs"), "train", small_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda _: {})
        for split in ("validation", "test"):
            files.write(evaluate(Request(str(run), split=split, bootstrap=20, device="cpu")))
    return run


def rows_of(run, split="test"):
    with (run / "eval" / split / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def exported(run, path, split="test", column="fused", change=lambda value: value):
    """Write the scores of a run as a file of another system."""
    lines = [f"{row['clip']},{change(float(row[column]))!r}\n" for row in rows_of(run, split)]
    path.write_text("file,score\n" + "".join(reversed(lines)))
    return ScoreFile(path)


def asked(run, folder, **changes):
    return Request(str(folder), against=[str(run)], bootstrap=20, device="cpu")._replace(**changes)


def figures(report, name):
    """All figures of a column of the table, by part of the report."""
    members = {kind: group["members"] for kind, group in report["groups"].items()}
    parts = {"overall": report["overall"], **report["tiers"], **report["methods"]}
    parts |= {f"{kind} {group}": part for kind, of in members.items() for group, part in of.items()}
    found = {part: of.get(name, of["clips"]) for part, of in parts.items()}
    return found | {"calibration": report["calibration"][name], "coverage": report["coverage"]}


def test_scores_of_a_run_have_the_figures_of_the_run(run, tmp_path):
    theirs = tmp_path / "theirs"
    for split in ("validation", "test"):
        file = exported(run, tmp_path / f"{split}.csv", split)
        files.write(judge(asked(run, theirs, split=split, tiers=("RVFA",) if split == "validation" else ()), file))
    ours = json.loads((run / "eval" / "test" / "report.json").read_text())
    found = json.loads((theirs / "eval" / "test" / "report.json").read_text())
    assert figures(found, "score") == figures(ours, "fused")
    assert found["fitted"]["score"]["eer_threshold"] == ours["fitted"]["fused"]["eer_threshold"]
    assert found["overall"]["train"] == ours["overall"]["fused"], "the run itself, read as evaluated"
    assert {pair["difference"] for pair in found["paired"]["train"].values()} == {0.0}
    shown = [(one["clip"], one["score"]) for one in found["failures"]["worst"]]
    assert shown == [(one["clip"], one["score"]) for one in ours["failures"]["worst"]]
    html = (theirs / "eval" / "test" / "report.html").read_text()
    assert "Protocol: scores from a file" in html
    assert "detect.py" not in html, "there is no model to explain them with"
    assert not (theirs / "eval" / "test" / "windows.csv").exists()


def test_a_higher_score_may_mean_real(run, tmp_path):
    file = exported(run, tmp_path / "real.csv", change=lambda value: 1 - value)
    auc = judge(asked(run, tmp_path / "x"), file).result["overall"]["score"]["auc"]
    turned = judge(asked(run, tmp_path / "y"), file._replace(higher_is_real=True)).result["overall"]["score"]["auc"]
    assert turned == pytest.approx(1 - auc)
    ours = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert turned == pytest.approx(ours["overall"]["fused"]["auc"])


def test_thresholds_of_scores_on_another_scale_are_not_used(run, tmp_path):
    file = exported(run, tmp_path / "validation.csv", "validation")
    files.write(judge(asked(run, tmp_path / "x", split="validation"), file._replace(scale="rank")))
    assert "score" not in judge(asked(run, tmp_path / "x"), exported(run, tmp_path / "test.csv")).result["fitted"]
    text = (tmp_path / "x" / "eval" / "validation" / "report.html").read_text()
    assert "The order of these scores alone has a meaning" in text


def test_clips_and_rows_that_take_no_part_are_listed_and_add_up(run, tmp_path):
    path = tmp_path / "some.csv"
    rows, others = rows_of(run), rows_of(run, "validation")
    lines = [f"{row['clip']},{row['fused']}" for row in [*rows[2:], *others[:3]]]
    path.write_text("\n".join(["clip,fused", *lines, f"{rows[0]['clip']},", "<b>gone</b>.mp4,0.5", "extra.mp4,"]))
    done = judge(asked(run, tmp_path / "x"), ScoreFile(path))
    counts = done.result["left_out"]
    assert counts["scored"] + counts["without_score"] == counts["clips"] == len(rows)
    assert sum(counts[name] for name in ("scored", "vocoded", "empty", "not_judged", "unknown")) == counts["rows"]
    assert (counts["without_score"], counts["empty"], counts["not_judged"], counts["unknown"]) == (2, 2, 3, 1)
    said = files.write(done)
    assert f"{tmp_path}/x/eval/test/left_out.csv: 7 clips and rows that take no part" in said
    assert "2 of 12 clips have no score and take no part (left_out.csv)." in said
    with (tmp_path / "x" / "eval" / "test" / "left_out.csv").open() as file:
        listed = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert listed[rows[1]["clip"]] == f"no score in {path}"
    assert listed[rows[0]["clip"]].startswith("no score: its cell is empty in")
    assert listed[others[0]["clip"]] == "has a score, but is not judged in 'test'"
    assert listed["<b>gone</b>.mp4"] == "has a score, but is no clip of the element store"
    assert len(listed) == counts["listed"] == 7
    assert len(done.clips) == counts["scored"]


def test_elements_and_lists_can_be_named_without_a_run(run, small_store, tmp_path):
    request = asked(run, tmp_path / "x", against=(), elements=str(small_store / "elements"))
    file = exported(run, tmp_path / "test.csv")
    found = judge(request._replace(audit=True), file, str(small_store / "splits")).result
    assert found["overall"]["clips"] == 12
    assert found["audit"]["clips"].keys() == {"test", "train", "validation"}
    assert judge(request._replace(split="all"), file).result["left_out"]["without_score"] == 16


def refused(request, file, splits=None):
    with pytest.raises(UserError) as caught:
        judge(request, file, splits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(run, small_store, tmp_path):
    file = exported(run, tmp_path / "test.csv")
    assert "is a trained run; name another folder" in refused(asked(run, run), file)
    assert "name the clips by --elements" in refused(asked(run, tmp_path / "x", against=()), file)
    alone = asked(run, tmp_path / "x", against=(), elements=str(small_store / "elements"))
    assert "name the lists that --split test is of with --splits" in refused(alone, file)
    assert "not evaluated on train" in refused(asked(run, tmp_path / "x", split="train"), file)
    assert "two columns of the table would be called 'train'" in refused(
        asked(run, tmp_path / "x", against=[str(run)] * 2), file
    )
    splits = str(small_store / "splits")
    everything = asked(run, tmp_path / "x", split="validation", elements=str(small_store / "elements"), against=())
    validation = exported(run, tmp_path / "validation.csv", "validation")
    reals = tmp_path / "reals.csv"
    reals.write_text("\n".join(line for line in validation.path.read_text().splitlines() if "Fake" not in line))
    assert "split 'validation' has only real elements" in refused(everything, ScoreFile(reals), splits)
    assert not (tmp_path / "x").exists()


def test_other_clips_than_those_of_the_run_are_refused(run, tmp_path):
    """The run was evaluated on fewer clips, or they have other facts now."""
    other = tmp_path / "runs" / "train"
    (other / "eval" / "test").mkdir(parents=True)
    for name in ("report.json", "scores.csv"):
        (other / "eval" / "test" / name).write_text((run / "eval" / "test" / name).read_text())
    head, *lines = (run / "eval" / "test" / "scores.csv").read_text().splitlines()
    file = exported(run, tmp_path / "test.csv")
    (other / "eval" / "test" / "scores.csv").write_text("\n".join([head, *lines[1:]]) + "\n")
    assert "has no score of 1 of these clips" in refused(asked(other, tmp_path / "x"), file)
    (other / "eval" / "test" / "scores.csv").write_text("\n".join([head, *lines]).replace(",id5,", ",id9,") + "\n")
    assert "the identity of" in refused(asked(other, tmp_path / "x"), file)
