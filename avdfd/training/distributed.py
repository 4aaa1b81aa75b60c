"""Several processes that train one model, one per GPU, as torchrun starts them; or one process alone.

Every step's batch is divided among the processes, and what the losses need of it is put together again on all of them:
a loss sees the whole batch, whatever the number of processes. DistributedDataParallel takes the mean of the gradients,
so `gather` scales them by the number of processes on the way back.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avdfd.core import fields
from avdfd.core.errors import UserError
from avdfd.core.workers import die_with_parent
from avdfd.training import batch_norm

T = TypeVar("T", bound=tuple)

_PATIENCE = timedelta(minutes=30)  # for others, who may still be reading their data


class World(NamedTuple):
    """The processes, and which of them this one is."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def __str__(self) -> str:
        return f"{self.size} x {self.device.type}" if self.size > 1 else str(self.device)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


def pick_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one. Raises UserError if a GPU is asked for and none is usable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': no usable GPU found; use --device=auto or cpu, or check the driver")
    return torch.device(name)


@contextlib.contextmanager
def join(device_name: str) -> Iterator[World]:
    """The processes that torchrun has started, or this one alone. Raises UserError for more processes than GPUs."""
    device = pick_device(device_name)
    if "LOCAL_RANK" not in os.environ:
        yield World(device)
        return
    die_with_parent()  # else those of a torchrun that was killed would go on beside those of the next one
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(f"{local + 1} processes on this machine, but {torch.cuda.device_count()} GPUs; start fewer")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def parallel(model: nn.Module, world: World) -> nn.Module:
    """The model to call in training: all processes then have the gradients of the whole batch."""
    if world.size == 1:
        return model
    batch_norm.convert(model)
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def accumulating(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Around all but the last part of a step: gradients stay in this process until then."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def dividing(world: World, total: int) -> contextlib.AbstractContextManager[None]:
    """Around the model's call on a share of a batch of `total` samples: batch norms then count each of them once."""
    if world.size == 1:
        return contextlib.nullcontext()
    own, given = len(range(world.rank, total, world.size)), -(-total // world.size)
    return batch_norm.dividing(batch_norm.Portion(own, given, total, world.size))


class Chance:
    """Random numbers for a batch of `total` samples: what a sample gets does not depend on the number of processes."""

    def __init__(self, world: World, total: int, *seed: int) -> None:
        self._world, self._total, self._rng = world, total, np.random.default_rng(seed)

    def order(self, count: int) -> list[int]:
        """The numbers below `count` in random order, the same one for all samples."""
        return self._rng.permutation(count).tolist()

    def uniform(self, columns: int) -> Tensor:
        """(b, columns) between 0 and 1, for the process's own share of the samples."""
        whole = self._rng.random((self._total, columns), dtype=np.float32)
        places = np.arange(self._world.rank, self._world.rank + self._total, self._world.size)
        own = torch.from_numpy(whole[np.where(places < self._total, places, 0)])
        return own.to(self._world.device, non_blocking=True)


def gather(world: World, total: int, *parts: Tensor) -> tuple[Tensor, ...]:
    """What each process has of a batch (b, ...) -> all of it (total, ...), in its order, on all of them.

    Process r has the samples r, r + size, r + 2 size ...; those beyond `total` only fill up. Gradients flow back to
    the process that a sample is from.
    """
    if world.size == 1:
        return tuple(part[:total] for part in parts)
    return tuple(_Gather.apply(part, world)[:total] for part in parts)


def gather_fields(world: World, total: int, share: T) -> T:
    """`gather` for each tensor of a NamedTuple; what is None stays None."""
    return fields.change(share, lambda part: gather(world, total, part)[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World) -> Tensor:
        ctx.world = world
        found = [torch.empty_like(part) for _ in range(world.size)]
        dist.all_gather(found, part.contiguous())
        return torch.stack(found, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # All processes compute the same loss of the whole batch, so none needs the others' gradients of it.
        (grad,), world = grads, ctx.world
        return grad.unflatten(0, (-1, world.size))[:, world.rank] * world.size, None


def all_reduce_max(world: World, value: int) -> int:
    """Return the largest value of all processes."""
    if world.size == 1:
        return value
    largest = torch.tensor(value)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def collect(world: World, thing: Any) -> list[Any]:
    """A thing of every process, in the order of their ranks."""
    if world.size == 1:
        return [thing]
    things: list[Any] = [None] * world.size
    dist.all_gather_object(things, thing)
    return things
