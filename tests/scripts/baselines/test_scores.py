"""Scores of the baselines, alone and beside a run of ours on the same clips."""

import json
from dataclasses import replace

import numpy as np
import pytest

import baseline
import evaluate
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference.domain import features_of
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score, score_windows
from tests.helpers.baselines import SYSTEMS, message, swapped_splits
from tests.helpers.runs import make_run


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_score_does_not_depend_on_the_batch(kind, trained, store):
    run = load_run(trained(kind), "cpu")
    elements = ElementStore(store / "elements")
    metas = split_metas(run.config, elements, "test")
    together = score(run, ElementSet(elements, metas, run.inputs), batch_size=7).branch["fused"]
    alone = score(run, ElementSet(elements, metas, run.inputs), batch_size=1).branch["fused"]
    turned = score(run, ElementSet(elements, metas[::-1], run.inputs), batch_size=5).branch["fused"]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(turned[::-1], together, rtol=1e-4, atol=1e-6)
    # detect.py passes windows in memory, with all their frames.
    windows = [elements.read(meta.key, waveform=True, frames=range(77)) for meta in metas[:3]]
    unlabelled = [replace(window, meta=None) for window in windows]
    np.testing.assert_allclose(score_windows(run, unlabelled).branch["fused"], together[:3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_clips_are_compared_with_the_training_data(kind, trained, store):
    folder = trained(kind)
    run = load_run(folder, "cpu")
    elements = ElementStore(store / "elements")
    part = ElementSet(elements, split_metas(run.config, elements, "test")[:5], run.inputs)
    alone, together = (features_of(run, part, batch_size=size) for size in (1, 5))
    assert set(alone) == {"audio", "visual"}
    for branch, values in alone.items():
        np.testing.assert_allclose(values, together[branch], rtol=1e-3, atol=1e-5)
        assert (np.ptp(values, axis=0) > 0).mean() > 0.5
    for split in ("validation", "test"):
        evaluate.main(["--run", str(folder), "--split", split, "--bootstrap", "0", "--device", "cpu"])
        domain = json.loads((folder / f"eval/{split}/report.json").read_text())["domain"]
        assert (domain["branches"], domain["calibration_clips"]) == (["audio", "visual"], 8)
        assert domain["facts"]["corpus"]["clips"] == 6
        assert 0 <= domain["outside"] <= 1


def test_our_run_and_baselines_on_the_same_clips(trained, store, tmp_path, capsys):
    for kind in SYSTEMS:
        trained(kind)
    runs = tmp_path / "runs"
    ours = make_run(runs, "train", store)
    others = [str(runs / kind) for kind in SYSTEMS]
    capsys.readouterr()
    evaluate.main(["--run", str(ours), "--against", *others, "--bootstrap", "20", "--device", "cpu"])
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[3:] == ["audio", "visual", "fused", "avff", "mrdf", "vfd"]
    report = json.loads((ours / "eval/test/report.json").read_text())
    assert report["main"] == "fused"
    assert {name: about["kind"] for name, about in report["against"].items()} == {k: k for k in SYSTEMS}
    assert all(section["avff"]["auc"] >= 0 for section in report["tiers"].values())
    html = (ours / "eval/test/report.html").read_text()
    assert all(f"against {kind}" in html for kind in SYSTEMS)
    # A baseline evaluated alone gets the same figures.
    evaluate.main(["--run", str(runs / "avff"), "--bootstrap", "20", "--device", "cpu"])
    alone = json.loads((runs / "avff/eval/test/report.json").read_text())
    assert alone["overall"]["fused"]["auc"] == report["overall"]["avff"]["auc"]


def test_incomparable_runs_are_refused(config, store, tmp_path):
    runs = tmp_path / "runs"
    ours = str(make_run(runs, "train", store))
    again = message(["--run", ours, "--against", ours], evaluate)
    assert "two columns of the table would be called 'train'" in again
    # A baseline that was trained on test identities.
    swapped = swapped_splits(tmp_path / "swapped")
    data = {"elements": str(store / "elements"), "splits": str(swapped), "fake_tiers": ["RVFA"], "workers": 0}
    baseline.main(config("mrdf", name="leaky", data=data))
    assert "identity 'id5' of the test elements is in its train list" in message(
        ["--run", ours, "--against", str(runs / "leaky")], evaluate
    )
