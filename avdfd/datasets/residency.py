"""Data residency: rows kept in the memory of the GPU or of the machine, so that a step reads no files."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from avdfd.config.base import Home
from avdfd.core import fields
from avdfd.core.errors import UserError
from avdfd.core.memory import available_memory

C = TypeVar("C", bound=tuple)
Place = Literal["gpu", "memory", "disk"]


class Resident(Generic[C]):
    """A NamedTuple of tensors (N, ...), or None, from which batches of rows are copied to a device.

    The tensors are on that device, or in the machine's memory, possibly in a mapped file.
    """

    def __init__(self, tensors: C, device: torch.device) -> None:
        self.tensors, self.device = tensors, device

    @classmethod
    def empty(cls, row: C, count: int, place: Place, device: torch.device) -> "Resident[C]":
        """Allocate `count` rows like this one, without values: `put` stores them."""
        home = device if place == "gpu" else torch.device("cpu")
        return cls(
            fields.map_tensors(row, lambda x: torch.empty((count, *x.shape), dtype=x.dtype, device=home)), device
        )

    def take(self, positions: Sequence[int] | Tensor) -> C:
        """Return the rows at these positions, in that order, on the device, without waiting for a GPU."""
        here = torch.as_tensor(positions)
        there = here.to(self.device, non_blocking=True)

        def rows(tensor: Tensor) -> Tensor:
            if tensor.device.type == self.device.type:
                return tensor.index_select(0, there)
            # Copying to a GPU while it computes needs pinned memory: pinned per batch, as all rows would be too much.
            pinned = torch.empty((len(here), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
            return torch.index_select(tensor, 0, here, out=pinned).to(self.device, non_blocking=True)

        return fields.map_tensors(self.tensors, rows)

    def put(self, positions: Sequence[int] | Tensor, rows: C) -> None:
        """Store rows, from any device."""
        index = torch.as_tensor(positions)
        for tensor, values in zip(self.tensors, rows, strict=True):
            if tensor is not None:
                on = tensor.device
                tensor.index_copy_(0, index.to(on, non_blocking=True), values.to(on, non_blocking=on.type == "cuda"))


def size_of(row: tuple[Any, ...]) -> int:
    """Bytes of a NamedTuple of tensors."""
    return sum(x.nbytes for x in row if x is not None)


def choose(wanted: Home, size: int, device: torch.device) -> Place:
    """Choose where to keep data of `size` bytes.

    "auto" is the GPU's memory if the data take at most half of what is free, else this process's share of the machine's
    memory by the same rule, else the disk. Raises UserError if the wanted place does not exist or is too small.
    """
    if wanted == "disk":
        return "disk"
    room: dict[Place, float] = {}
    if device.type == "cuda":
        room["gpu"] = torch.cuda.mem_get_info(device)[0]
    # Every process of the machine keeps data.
    room["memory"] = available_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if wanted == "auto":
        fitting: Iterator[Place] = (place for place, free in room.items() if 2 * size <= free)
        return next(fitting, "disk")
    if wanted not in room:
        raise UserError(f"data.home '{wanted}': this run uses the {device.type}; choose 'memory', or 'auto'")
    if size > room[wanted]:
        raise UserError(
            f"data.home '{wanted}': the data take {size / 1e9:.1f} GB there, and this process can use "
            f"{room[wanted] / 1e9:.1f} GB; choose 'auto' or 'disk'"
        )
    return wanted
