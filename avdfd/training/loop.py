"""Helpers around the loops of the training scripts: seeds, precision, progress bars."""

import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from avdfd.config import SpeedConfig
from avdfd.core.progress import Bar
from avdfd.training.distributed import World
from avdfd.training.state import Progress
from OpenAVFF.stack import Stack

T = TypeVar("T")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch. Augmentation has seeds of its own (avdfd/datasets/samplers.py)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def speed_up(model: nn.Module, cfg: SpeedConfig, device: torch.device, precision: str) -> None:
    """Set up checkpointing, compilation and precision in the model itself; its state_dict keys stay.

    Layers are compiled one by one. This is quick, as they are alike, and processes can exchange the gradients of each
    layer while the next ones are computed.
    """
    for stack in (module for module in model.modules() if isinstance(module, Stack)):
        stack.checkpointing = cfg.checkpointing
        for layer in stack if cfg.compile else ():
            layer.compile()
    if device.type == "cuda":
        # Under bf16 autocast, only the products of contrastive losses stay in fp32, and they need it.
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision != "fp32"


def epochs(progress: Progress, last: int, title: str, world: World) -> Bar:
    """Iterate over the remaining epochs with a progress bar."""
    return Bar(range(progress.epoch, last), desc=title, unit="epoch", disable=not world.first)


def steps(batches: Iterable[T], left: int, progress: Progress, world: World) -> Iterator[T]:
    """Iterate over an epoch's micro-batches with a temporary progress bar of its steps, of which `left` remain."""
    done = progress.step
    with Bar(total=done + left, initial=done, desc="train", unit="step", leave=False, disable=not world.first) as bar:
        for batch in batches:
            yield batch
            if progress.last_loss is not None:
                bar.set_postfix(loss=f"{progress.last_loss:.3f}", refresh=False)
            bar.update(progress.step - done)
            done = progress.step
