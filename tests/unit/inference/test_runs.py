"""Runs that cannot be loaded are refused by a line that names the reason."""

import pytest
import torch

from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.inference.runs import load_run
from avdfd.training import weights
from tests.helpers.runs import make_run


def test_runs_that_cannot_be_loaded(small_store, tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        load_run(tmp_path / "none")
    with pytest.raises(UserError, match=r"has no best\.safetensors"):
        load_run(tmp_path)
    folder = make_run(tmp_path, "train", small_store)
    facts, model = weights.load(folder / BEST, "train")
    weights.save(folder / BEST, {**model, "a2v_head.0.weight": torch.zeros(3)}, facts)
    with pytest.raises(UserError, match="has other shapes for 1 of .* 'a2v_head.0.weight'"):
        load_run(folder)
