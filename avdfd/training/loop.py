"""What the training scripts share around their visible loops: seeds, precision, progress."""

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from avdfd.config import SpeedConfig
from avdfd.training.distributed import World
from avdfd.training.state import Progress
from OpenAVFF.stack import Stack

T = TypeVar("T")


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch. Augmentation has seeds of its own (avdfd/datasets/samplers.py)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def speed_up(model: nn.Module, cfg: SpeedConfig, device: torch.device, precision: str) -> None:
    """Sets what the config asks for, in the model itself, whose state_dict keys stay.

    Layers are compiled one by one: it is quick, as they are alike, and gradients leave each of them as soon as they are
    there, so that processes exchange them meanwhile.
    """
    for stack in (module for module in model.modules() if isinstance(module, Stack)):
        stack.checkpointing = cfg.checkpointing
        for layer in stack if cfg.compile else ():
            layer.compile()
    if device.type == "cuda":
        # Beside bf16, the products that are left in fp32 are those of contrastive losses, which need it.
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision != "fp32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on a GPU if asked for; nothing on a CPU."""
    if device.type == "cuda" and precision == "bf16":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def epochs(progress: Progress, last: int, title: str, world: World) -> "tqdm[int]":
    """The epochs that are left, with a bar."""
    return tqdm(range(progress.epoch, last), desc=title, unit="epoch", disable=not world.first)


def steps(batches: Iterable[T], left: int, progress: Progress, world: World) -> Iterator[T]:
    """The parts of an epoch's batches, with a bar of its steps, of which so many are left, that goes away."""
    done = progress.step
    with tqdm(total=done + left, initial=done, desc="train", unit="step", leave=False, disable=not world.first) as bar:
        for batch in batches:
            yield batch
            if progress.last_loss is not None:
                bar.set_postfix(loss=f"{progress.last_loss:.3f}", refresh=False)
            bar.update(progress.step - done)
            done = progress.step
