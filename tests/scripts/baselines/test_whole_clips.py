"""MRDF on whole clips; stores of the other kind of elements."""

import csv

import numpy as np
import pytest

import baseline
import evaluate
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score, score_windows
from tests.helpers.baselines import message


@pytest.mark.parametrize("faithful", [False, True])
def test_mrdf_takes_whole_clips(faithful, whole_config, whole_store, tmp_path, capsys):
    """Clips of 26, 31 and 40 frames: trained on with padding, or as released cut to the shortest of a batch."""
    baseline.main(whole_config(faithful=faithful, model={"encoder_layers": 0 if faithful else 1}))
    run = load_run(tmp_path / "runs" / "whole", "cpu")
    assert run.media.whole
    elements = ElementStore(whole_store / "elements", whole=True)
    metas = split_metas(run.config, elements, "test")
    assert len({meta.end for meta in metas}) == 3
    batches = {size: score(run, ElementSet(elements, metas, run.inputs), batch_size=size) for size in (1, 2, 9)}
    for branch in run.branches:
        for scores in batches.values():
            np.testing.assert_allclose(scores.branch[branch], batches[1].branch[branch], rtol=0, atol=1e-5)
    cut = run.inputs._replace(max_steps=26)
    assert abs(score(run, ElementSet(elements, metas, cut)).branch["fused"] - batches[9].branch["fused"]).max() > 1e-6
    evaluate.main(["--run", str(tmp_path / "runs" / "whole"), "--bootstrap", "0", "--workers", "0", "--device", "cpu"])
    rows = list(csv.DictReader((tmp_path / "runs/whole/eval/test/scores.csv").read_text().splitlines()))
    assert [row["windows"] for row in rows] == ["1"] * len(rows)
    # detect.py has clips in memory.
    clips = [elements.read(meta.key, waveform=True, mel=False, frames=range(500)) for meta in metas[:3]]
    np.testing.assert_allclose(
        score_windows(run, clips).branch["fused"], batches[1].branch["fused"][:3], rtol=0, atol=1e-5
    )


def test_elements_of_the_other_kind_are_refused(whole_config, trained, whole_store, store):
    windows = "has whole clips, but windows of 3.072 s are needed; make a store with media.whole set to false"
    for kind in ("avff", "vfd"):
        assert windows in message(whole_config(kind=kind))
    assert windows in message([*whole_config(), "--model.clips=window"])
    clips = "has windows of 3.072 s, but whole clips are needed; make a store with media.whole set to true"
    assert clips in message(whole_config(store=store))
    run = trained("mrdf")
    assert windows in message(["--run", str(run), "--elements", str(whole_store / "elements")], evaluate)
    assert "whole clips differ in length and stay on disk" in message([*whole_config(), "--data.home=memory"])
