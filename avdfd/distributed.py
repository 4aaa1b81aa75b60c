"""Several processes that train one model, one per GPU, as torchrun starts them; or one process alone.

Every step's batch is divided among the processes, and what the losses need of it is put together again on all of them:
a loss sees the whole batch, whatever the number of processes. DistributedDataParallel takes the mean of the gradients,
so `gather` scales them by the number of processes on the way back.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avdfd.errors import UserError
from avdfd.workers import die_with_parent

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
    if world.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def accumulating(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Around all but the last part of a step: gradients stay in this process until then."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def gather(world: World, total: int, *parts: Tensor) -> tuple[Tensor, ...]:
    """What each process has of a batch (b, ...) -> all of it (total, ...), in its order, on all of them.

    Process r has the samples r, r + size, r + 2 size ...; those beyond `total` only fill up. Gradients flow back to
    the process that a sample is from.
    """
    if world.size == 1:
        return tuple(part[:total] for part in parts)
    return tuple(_Gather.apply(part, world)[:total] for part in parts)


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


def agree(world: World, wish: int) -> int:
    """The largest of what the processes wish for."""
    if world.size == 1:
        return wish
    flag = torch.tensor(wish)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return int(flag)


def collect(world: World, thing: Any) -> list[Any]:
    """A thing of every process, in the order of their ranks."""
    if world.size == 1:
        return [thing]
    things: list[Any] = [None] * world.size
    dist.all_gather_object(things, thing)
    return things
