"""Distributed training of one model by several processes, one per GPU, as torchrun starts them; or by one process.

Each step's batch is divided among the processes. What the losses need is gathered on all of them, so that a loss is
computed on the whole batch, whatever the number of processes. DistributedDataParallel averages the gradients, so the
backward pass of `gather` multiplies them by the number of processes.
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
from avdfd.core.heap import keep_all_free_memory
from avdfd.core.workers import die_with_parent
from avdfd.training import batch_norm

T = TypeVar("T", bound=tuple)

_TIMEOUT = timedelta(minutes=30)  # other processes may still be reading their data


class World(NamedTuple):
    """The processes of a run, and the rank of this one."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def __str__(self) -> str:
        return f"{self.size} x {self.device.type}" if self.size > 1 else str(self.device)

    @property
    def first(self) -> bool:
        """True for the process that writes files and prints."""
        return self.rank == 0


def pick_device(name: str) -> torch.device:
    """Return the device; 'auto' is the GPU if there is one. For a CPU, this process keeps free memory from here on.

    Raises UserError if no GPU is usable for 'cuda'.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': no usable GPU found; use --device=auto or cpu, or check the driver")
    if name == "cpu":
        keep_all_free_memory()
    return torch.device(name)


@contextlib.contextmanager
def join(device_name: str) -> Iterator[World]:
    """Join the processes that torchrun started, or run alone. Raises UserError for more processes than GPUs."""
    device = pick_device(device_name)
    if "LOCAL_RANK" not in os.environ:
        yield World(device)
        return
    die_with_parent()  # otherwise processes of a killed torchrun would run on beside those of the next one
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(f"{local + 1} processes on this machine, but {torch.cuda.device_count()} GPUs; start fewer")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield World(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def parallel(model: nn.Module, world: World) -> nn.Module:
    """Wrap a model for training, so that all processes get the gradients of the whole batch."""
    if world.size == 1:
        return model
    batch_norm.convert(model)
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def accumulating(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Context that keeps gradients in this process until the last micro-batch of a step."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def dividing(world: World, total: int) -> contextlib.AbstractContextManager[None]:
    """Context for a forward pass on a share of `total` samples, in which batch norms count each sample once."""
    if world.size == 1:
        return contextlib.nullcontext()
    own, given = len(range(world.rank, total, world.size)), -(-total // world.size)
    return batch_norm.dividing(batch_norm.Portion(own, given, total, world.size))


class Chance:
    """Random numbers for a batch of `total` samples, which do not depend on the number of processes."""

    def __init__(self, world: World, total: int, *seed: int) -> None:
        self._world, self._total, self._rng = world, total, np.random.default_rng(seed)

    def order(self, count: int) -> list[int]:
        """Return the numbers below `count` in random order, the same for all samples."""
        return self._rng.permutation(count).tolist()

    def uniform(self, columns: int) -> Tensor:
        """Return random numbers (b, columns) in [0, 1) for this process's share of the samples."""
        whole = self._rng.random((self._total, columns), dtype=np.float32)
        places = np.arange(self._world.rank, self._world.rank + self._total, self._world.size)
        own = torch.from_numpy(whole[np.where(places < self._total, places, 0)])
        return own.to(self._world.device, non_blocking=True)


def gather(world: World, total: int, *shares: Tensor) -> tuple[Tensor, ...]:
    """Gather each process's share of a batch (b, ...) into the whole batch (total, ...), in order, on all of them.

    Process r has the samples r, r + size, r + 2 size ...; samples beyond `total` are padding. Gradients flow back to
    the process that a sample came from.
    """
    if world.size == 1:
        return tuple(share[:total] for share in shares)
    return tuple(_Gather.apply(share, world)[:total] for share in shares)


def gather_fields(world: World, total: int, share: T) -> T:
    """Apply `gather` to each tensor of a NamedTuple; None stays None."""
    return fields.map_tensors(share, lambda tensor: gather(world, total, tensor)[0])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, world: World) -> Tensor:
        ctx.world = world
        shares = [torch.empty_like(share) for _ in range(world.size)]
        dist.all_gather(shares, share.contiguous())
        return torch.stack(shares, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # All processes compute the same loss of the whole batch, so no gradients need to be exchanged here.
        (grad,), world = grads, ctx.world
        return grad.unflatten(0, (-1, world.size))[:, world.rank] * world.size, None


def all_reduce_max(world: World, value: int) -> int:
    """Return the largest value of all processes."""
    if world.size == 1:
        return value
    largest = torch.tensor(value)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def collect(world: World, value: Any) -> list[Any]:
    """Return the values of all processes, in the order of their ranks."""
    if world.size == 1:
        return [value]
    values: list[Any] = [None] * world.size
    dist.all_gather_object(values, value)
    return values
