"""Several seeds of a system are pooled."""

import numpy as np
import pytest

import evaluate
from avdfd.metrics import roc
from tests.helpers.evaluation import make_seed, refused, report_of, rows_of


def test_several_seeds_are_pooled(data, tmp_path):
    runs = [make_seed(tmp_path, data, seed) for seed in (0, 1, 2)]
    names = ",".join(map(str, runs))
    for split in ("validation", "test"):
        evaluate.main(["--run", names, "--split", split, "--bootstrap", "30"])
    pooled = report_of(runs[0], "test-3-seeds")
    evaluate.main(["--run", str(runs[1]), "--bootstrap", "30"])
    assert [run["seed"] for run in pooled["runs"]] == [0, 1, 2]
    rows = rows_of(runs[0], "test-3-seeds")
    labels = [int(row["label"]) for row in rows]
    each = [roc.auc(labels, [float(row[f"fused[{seed}]"]) for row in rows]) for seed in range(3)]
    assert pooled["overall"]["fused"]["auc"] == pytest.approx(np.mean(each))
    assert pooled["overall"]["fused"]["auc_deviation"] == pytest.approx(np.std(each, ddof=1))
    assert each[1] == pytest.approx(report_of(runs[1])["overall"]["fused"]["auc"])
    assert len(pooled["fitted"]["fused"]["eer_threshold"]) == 3
    # One system of two seeds against another.
    baseline = ",".join(map(str, runs[1:]))
    evaluate.main(["--run", str(runs[0]), "--against", baseline, "--bootstrap", "30"])
    against = report_of(runs[0])
    assert against["overall"]["seed1"]["auc"] == pytest.approx(np.mean(each[1:]))
    assert len(against["against"]["seed1"]["runs"]) == 2
    assert against["paired"]["seed1"]["overall"]["difference"] == pytest.approx(each[0] - np.mean(each[1:]))


def test_refuses_runs_of_several_systems_as_one(data, tmp_path):
    runs = [make_seed(tmp_path, data, 0), make_seed(tmp_path, data, 1, backbone_lr_scale=0.5)]
    assert "not the system of" in refused(runs[0], "--run", f"{runs[0]},{runs[1]}")
    assert "the seeds are 0, 0; every run needs a different one" in refused(runs[0], "--run", f"{runs[0]},{runs[0]}")
