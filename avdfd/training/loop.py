"""Helpers around the loops of the training scripts: seeds, precision, garbage collection, progress bars."""

import gc
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from avdfd.config import SpeedConfig
from avdfd.core.errors import UserError
from avdfd.core.progress import Bar
from avdfd.training.distributed import World
from avdfd.training.state import Progress
from OpenAVFF.stack import Stack

T = TypeVar("T")

COLLECT_EVERY = 50
"""Steps after which young garbage is collected; old garbage is at the end of an epoch."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch. Augmentation has seeds of its own (avdfd/datasets/samplers.py)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def speed_up(model: nn.Module, cfg: SpeedConfig, device: torch.device, precision: str) -> None:
    """Set up checkpointing, compilation and precision in the model itself; its state_dict keys stay.

    Layers are compiled one by one. This is quick, as they are alike, and processes can exchange the gradients of each
    layer while the next ones are computed. Raises UserError for either without transformer layers.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack) and len(module)]
    for key in ("compile", "checkpointing"):
        if getattr(cfg, key) and not stacks:
            raise UserError(f"speed.{key}: this model has no transformer layers; leave it out")
    for stack in stacks:
        stack.checkpointing = cfg.checkpointing
        for layer in stack if cfg.compile else ():
            layer.compile()
    if device.type == "cuda":
        # Under bf16 autocast, only the products of contrastive losses stay in fp32, and they need it.
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision != "fp32"


def graphed(net: nn.Module, cfg: SpeedConfig, world: World, *, micro_batch: int = 0) -> Any:
    """Return the model as a training step calls it: with `speed.graphs` compiled as a whole, as CUDA graphs.

    Validation calls the model itself: a graph overwrites the outputs of the call before. Raises UserError where graphs
    cannot be: without a GPU, in several processes, or if gradients of micro-batches are accumulated, which a graph
    would overwrite.
    """
    if not cfg.graphs:
        return net
    if world.device.type != "cuda":
        raise UserError(f"speed.graphs: CUDA graphs need a GPU, and this run uses the {world.device.type}")
    if world.size > 1:
        raise UserError(f"speed.graphs: needs one process, not {world.size}: set it to false, or PROCESSES=1")
    if micro_batch:
        raise UserError("speed.graphs: needs whole batches: set it to false, or micro_batch to 0")
    return torch.compile(net, mode="reduce-overhead", dynamic=False)


@contextmanager
def scheduled_collection() -> Iterator[None]:
    """Collect no garbage by Python's own thresholds, which stop a step at any moment; that of the epoch at its end.

    Several processes would stop at different steps, each of which all of them then wait for. Objects that there were
    before are not searched, which takes 0.2 s: they are mainly those of imported modules.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def epochs(progress: Progress, last: int, title: str, world: World) -> Bar:
    """Iterate over the remaining epochs with a progress bar."""
    return Bar(range(progress.epoch, last), desc=title, unit="epoch", disable=not world.first)


def steps(batches: Iterable[T], left: int, progress: Progress, world: World) -> Iterator[T]:
    """Iterate over an epoch's micro-batches with a temporary progress bar of its steps, of which `left` remain.

    Garbage is collected every COLLECT_EVERY micro-batches, and at the end.
    """
    done = progress.step
    count = 0
    with (
        scheduled_collection(),
        Bar(total=done + left, initial=done, desc="train", unit="step", leave=False, disable=not world.first) as bar,
    ):
        for batch in batches:
            yield batch
            if progress.last_loss is not None:
                bar.set_postfix(loss=f"{progress.last_loss:.3f}", refresh=False)
            bar.update(progress.step - done)
            done, count = progress.step, count + 1
            if count % COLLECT_EVERY == 0:
                gc.collect(1)
