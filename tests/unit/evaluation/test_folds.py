"""The mean over folds, and the pages of all folds together."""

from pathlib import Path

import pytest

from avdfd.evaluation import folds
from avdfd.evaluation.evaluate import Evaluation
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES, TUNED
from avdfd.report.numbers import with_interval
from avdfd.report.pages import folds_text
from tests.helpers.scored import made_up_clips
from tests.unit.evaluation.test_pages import clips_of_pages, make_page


def test_mean_and_standard_deviation_over_folds():
    tested = []
    for number, auc in enumerate((0.8, 0.9, 1.0)):
        metrics = {"auc": auc, "ap": 0.5, "balanced_accuracy": 0.5, "eer": 0.1}
        overall = {**metrics, TUNED: 0.6}
        result = {"main": "fused", "overall": {"fused": overall}, "tiers": {"RVFA": {"fused": metrics}}, "fitted": {}}
        tested.append(Evaluation(Path(f"runs/m-fold_{number}/eval/test"), result, made_up_clips(), made_up_clips()))
    summary = folds.summarise(tested)
    assert summary["folds"][0] == "runs/m-fold_0/eval/test"
    assert summary["metrics"]["overall"]["auc"] == {
        "mean": pytest.approx(0.9), "deviation": pytest.approx(0.1), "folds": [0.8, 0.9, 1.0],
    }  # fmt: skip
    assert summary["metrics"]["overall"][TUNED]["mean"] == pytest.approx(0.6)
    assert TUNED not in summary["metrics"]["RVFA"]
    assert FALSE_ALARMS not in summary["pooled"], "no fold has a threshold"
    pooled, _, head, overall, *_ = folds_text(summary).splitlines()
    auc, eer = (with_interval(summary["pooled"], name) for name in ("auc", "eer"))
    assert pooled == f"fused score, 144 clips of all folds pooled: AUC {auc}, EER {eer}"
    assert head.startswith("3 folds, fused score  AUC")
    assert overall.split()[:4] == ["overall", "0.900", "±", "0.100"]


def test_every_clip_is_decided_at_the_threshold_of_its_fold():
    """Scores of the second fold are ten times those of the first, which costs AUC and no errors."""
    parts = [
        clips_of_pages(make_page("one", [0.1, 0.2, 0.6], [0.5, 0.7, 0.8])),
        clips_of_pages(make_page("two", [1, 2, 3], [5, 7, 8])),
    ]
    tested = [
        Evaluation(
            Path(),
            {"main": "audio", "overall": {"audio": {}}, "tiers": {}, "fitted": {"audio": {"eer_threshold": [limit]}}},
            clips,
            clips,
        )
        for clips, limit in zip(parts, (0.55, 4.0), strict=True)
    ]
    pooled = folds.summarise(tested)["pooled"]
    assert (pooled["clips"], pooled["fakes"]) == (12, 6)
    assert (pooled[FALSE_ALARMS], pooled[MISSES]) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert pooled["auc"] == pytest.approx(1 - (1 + 9) / 36)
    assert pooled["eer"] == pytest.approx(0.5), "at one threshold for both folds, between 0.8 and 1"
    assert f"real clips called fake at the validation threshold {pooled[FALSE_ALARMS]:.3f}" in folds_text(
        folds.summarise(tested)
    )


def test_pages_of_all_folds_are_taken_together():
    parts = [clips_of_pages(make_page("one", [0.1, 0.6], [0.2, 0.5])), clips_of_pages(make_page("two", [5, 6], [7, 6]))]
    tested = [Evaluation(Path(), {"main": "audio"}, clips, clips) for clips in parts]
    metrics = folds.summarise_pages(tested)
    assert list(metrics["pages"]) == ["one", "two"]
    assert metrics["mean"]["auc"]["value"] == pytest.approx((0.5 + 0.875) / 2)
