"""Thresholds and temperatures come from the evaluation of the same run on validation."""

import json
import shutil

import pytest

import evaluate
from avdfd.evaluation.grouped_metrics import TUNED
from avdfd.metrics import calibration, roc
from tests.helpers.evaluation import report_of, rows_of


def test_threshold_and_temperature_are_chosen_on_validation(evaluated):
    validation, test = report_of(evaluated, "validation"), report_of(evaluated)
    assert TUNED not in validation["overall"]["fused"]
    assert test["fitted"] == validation["fitted"]
    chosen = test["fitted"]["fused"]["eer_threshold"][0]
    known = [row for row in rows_of(evaluated, "validation") if row["tier"] in ("RVRA", "RVFA")]  # as trained on
    labels, scores = [int(r["label"]) for r in known], [float(r["fused"]) for r in known]
    assert chosen == roc.eer_threshold(labels, scores)
    assert test["fitted"]["fused"]["temperature"] == [calibration.fit_temperature(labels, scores)]
    rows = rows_of(evaluated)
    labels, scores = [int(r["label"]) for r in rows], [float(r["fused"]) for r in rows]
    assert test["overall"]["fused"][TUNED] == roc.balanced_accuracy(labels, scores, chosen)


@pytest.mark.parametrize("change", ["weights", "pooling", "elements"])
def test_thresholds_of_another_validation_are_not_used(evaluated, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    path = run / "eval" / "validation" / "report.json"
    former = json.loads(path.read_text())
    if change == "weights":
        former["runs"][0]["checkpoint_sha256"] = "0" * 64
    elif change == "elements":
        former["elements"] = "data/other"
    path.write_text(json.dumps(former))
    rule = "max" if change == "pooling" else "mean"
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--windows", rule])
    result = report_of(run)
    assert result["fitted"] == {}
    assert TUNED not in result["overall"]["fused"]
    assert result["overall"]["fused"]["auc_interval"] is None


def test_an_old_validation_report_is_ignored(run):
    (run / "eval" / "validation").mkdir(parents=True)
    (run / "eval" / "validation" / "report.json").write_text('{"checkpoint_sha256": "0"}')
    evaluate.main(["--run", str(run), "--bootstrap", "0"])
    assert report_of(run)["fitted"] == {}
