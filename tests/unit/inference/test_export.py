"""Runs that can be exported; the graphs themselves are in tests/slow/inference/test_export.py."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from avdfd.config import AvffConfig, RepresentationConfig
from avdfd.core.errors import UserError
from avdfd.inference import export, runs
from avdfd.inference.export import example, form_of, run_torch
from avdfd.models.front_ends import Sizes
from avdfd.models.front_ends.w2v_bert import W2vBert
from tests.helpers.runs import AUDIO, make_run
from tests.helpers.three_branches import make_three_branches


def test_inputs_and_outputs(small_store, tmp_path):
    run = runs.load_run(make_three_branches(tmp_path, small_store), "cpu")
    form = form_of(run)
    assert form.inputs == ("waveform", "frames", "shape")
    assert form.outputs == ("audio", "consistency", "picture", "fused")
    found = run_torch(form, example(form, 2))
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(form.outputs, (2,))
    assert all(((values > 0) & (values < 1)).all() for values in found.values())


def test_drawn_inputs_differ_from_clip_to_clip(small_store, tmp_path):
    form = form_of(runs.load_run(make_run(tmp_path, "train", small_store), "cpu"))
    made = example(form, 2)
    assert {name: values.dtype for name, values in made.items()} == {"waveform": np.float32, "frames": np.uint8}
    assert all((one[0] != one[1]).any() for one in made.values())
    assert np.abs(made["waveform"]).max() < 1


def test_runs_that_cannot_be_exported_are_refused(small_store, tmp_path, monkeypatch):
    err = make_run(tmp_path, "pretrain", small_store, audio={**AUDIO, "input": "mel_err"})
    with pytest.raises(UserError, match="takes mel_err, which needs a diffusion model; it cannot be exported"):
        form_of(runs.load_run(err, "cpu"))
    run = runs.load_run(make_three_branches(tmp_path, small_store), "cpu")
    other = RepresentationConfig.model_construct(kind="av-hubert")
    with pytest.raises(UserError, match="its representation is av-hubert; only runs on the mouth shape"):
        form_of(replace(run, inputs=run.inputs._replace(representation=other)))
    with pytest.raises(UserError, match="cannot be exported; stage 1, stage 2 and countermeasures can"):
        form_of(replace(run, config=AvffConfig.model_construct(kind="avff")))
    encoder = W2vBert(sizes=Sizes(depth=1, dim=8, heads=2, mlp_dim=8, channels=80))
    with pytest.raises(UserError, match="its encoder is w2v-bert-2, whose filter bank ONNX has not"):
        form_of(replace(run, model=nn.Sequential(run.model, encoder)))
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="GB of weights, and a file of ONNX holds less than"):
        form_of(run)
