"""A config for each fold, and the mean over folds."""

import json

import pytest

from avdfd.config import MrdfConfig, parse
from avdfd.core.errors import UserError
from avdfd.splits import folds
from avdfd.splits.folds import fold_configs, summarise


def test_configs_of_the_folds(tmp_path):
    for number in (2, 1):
        (tmp_path / f"fold_{number}.csv").write_text("")
    cfg = parse({"name": "m", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}, MrdfConfig, "test")
    one, two = fold_configs(cfg, tmp_path)
    assert (one.name, one.data.splits) == ("m-fold_1", str(tmp_path / "fold_1.csv"))
    assert two.name == "m-fold_2"
    assert cfg.data.splits == "s"
    with pytest.raises(UserError, match=r"no fold_\*\.csv here"):
        fold_configs(cfg, tmp_path / "none")


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
