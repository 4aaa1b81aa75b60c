"""Run baseline.py without dropout for each config and record the losses of every step.

MRDF computes in double precision: if a rounding error changes the sign of an input to a ReLU of its ResNet, gradients
change by a thousandth, which is visible after a few steps, with one process as with two.

python -m tests.helpers.baseline_recorder FOLDER CONFIG ...     one process, or as many as torchrun starts
"""

import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

import baseline
from avdfd.baselines import mrdf
from avdfd.training import distributed
from avdfd.training.state import Training


def record(folder: Path, *configs: str) -> None:
    """Write `FOLDER/<run>.jsonl` for every run of every config, with FOLDER as its `runs`."""
    step, attention, build = Training.step, F.scaled_dot_product_attention, mrdf.build

    def recorded(self, losses, *rest):
        if self.world.first:
            with (folder / f"{self.run.path.name}.jsonl").open("a") as file:
                file.write(json.dumps({name: value.item() for name, value in losses.items()}) + "\n")
        step(self, losses, *rest)

    def without_dropout(q, k, v, attn_mask=None, dropout_p=0.0, **more):
        return attention(q, k, v, attn_mask=attn_mask, **more)

    def double(*arguments):
        model = build(*arguments).double()
        model.register_forward_pre_hook(lambda _, inputs: (*(x.double() for x in inputs[:2]), *inputs[2:]))
        return model

    with (
        distributed.join("cpu") as world,  # possible only once in a process of torchrun
        mock.patch.object(distributed, "join", return_value=contextlib.nullcontext(world)),
        mock.patch.object(Training, "step", recorded),
        mock.patch.object(mrdf, "build", double),
        mock.patch.object(torch.nn.Dropout, "forward", lambda _, x: x),
        mock.patch.object(F, "scaled_dot_product_attention", without_dropout),
    ):
        for config in configs:
            baseline.main(["--config", config, f"--runs={folder}"])


if __name__ == "__main__":
    record(Path(sys.argv[1]), *sys.argv[2:])
