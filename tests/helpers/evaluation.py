"""Runs to evaluate, and what evaluate.py writes of them or refuses."""

import csv
import json

import pytest
import torch

import evaluate
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.training import weights
from tests.helpers.runs import make_run

BRANCHES = ["audio", "visual", "fused"]


def make_seed(root, data, seed, **changes):
    """A run of one of several seeds."""
    run = make_run(root / f"from{seed}", "train", data).rename(root / f"seed{seed}")
    facts, model = weights.load(run / BEST, "train")
    weight = model["a2v_head.0.weight"]
    weight = weight + torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    cfg = facts.config.model_copy(update={"seed": seed, "name": f"seed{seed}"} | changes)
    weights.save(run / BEST, {**model, "a2v_head.0.weight": weight}, facts.model_copy(update={"config": cfg}))
    return run


def report_of(run, split="test"):
    return json.loads((run / "eval" / split / "report.json").read_text())


def rows_of(run, split="test"):
    with (run / "eval" / split / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def refused(run, *arguments):
    with pytest.raises(UserError) as caught:
        evaluate.main(["--run", str(run), *arguments])
    assert not (run / "eval" / "test" / "report.json").exists()
    return str(caught.value)
