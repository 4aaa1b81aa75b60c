"""Rows that a step has without reading files: they are in the memory of the GPU, or in that of the machine."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from avdfd.config.base import Home
from avdfd.core import fields
from avdfd.core.errors import UserError

C = TypeVar("C", bound=tuple)
Place = Literal["gpu", "memory", "disk"]


class Resident(Generic[C]):
    """Columns of N rows, of which batches are wanted on a device.

    A column is a tensor (N, ...), or None. It is on that device, or in the machine's memory, which may be that of a
    mapped file.
    """

    def __init__(self, columns: C, device: torch.device) -> None:
        self.columns, self.device = columns, device

    @classmethod
    def empty(cls, row: C, count: int, place: Place, device: torch.device) -> "Resident[C]":
        """Room for as many rows like this one, without values: `put` gives them."""
        home = device if place == "gpu" else torch.device("cpu")
        return cls(fields.change(row, lambda x: torch.empty((count, *x.shape), dtype=x.dtype, device=home)), device)

    def take(self, positions: Sequence[int] | Tensor) -> C:
        """The rows at these positions, in that order, on the device. A GPU is not waited for."""
        here = torch.as_tensor(positions)
        there = here.to(self.device, non_blocking=True)

        def rows(column: Tensor) -> Tensor:
            if column.device.type == self.device.type:
                return column.index_select(0, there)
            # What is copied to a GPU while it computes has to be pinned: a batch at a time rather than all rows.
            pinned = torch.empty((len(here), *column.shape[1:]), dtype=column.dtype, pin_memory=True)
            return torch.index_select(column, 0, here, out=pinned).to(self.device, non_blocking=True)

        return fields.change(self.columns, rows)

    def put(self, positions: Sequence[int] | Tensor, rows: C) -> None:
        """Stores rows, wherever they are."""
        index = torch.as_tensor(positions)
        for column, values in zip(self.columns, rows, strict=True):
            if column is not None:
                on = column.device
                column.index_copy_(0, index.to(on, non_blocking=True), values.to(on, non_blocking=on.type == "cuda"))


def size_of(row: tuple[Tensor | None, ...]) -> int:
    """Bytes of a row, or of columns."""
    return sum(x.nbytes for x in row if x is not None)


def choose(wanted: Home, size: int, device: torch.device) -> Place:
    """Where data of so many bytes are to be kept.

    "auto" is the GPU's memory if they take at most half of what is free, else this process's part of the machine's, by
    the same rule, else the disk. Raises UserError if a place is asked for that is not there, or that is too small.
    """
    if wanted == "disk":
        return "disk"
    room: dict[Place, float] = {}
    if device.type == "cuda":
        room["gpu"] = torch.cuda.mem_get_info(device)[0]
    # All processes of a machine keep data.
    room["memory"] = available_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if wanted == "auto":
        fitting: Iterator[Place] = (place for place, free in room.items() if 2 * size <= free)
        return next(fitting, "disk")
    if wanted not in room:
        raise UserError(f"data.home '{wanted}': this run is on the {device.type}; use 'memory', or 'auto'")
    if size > room[wanted]:
        raise UserError(
            f"data.home '{wanted}': the data take {size / 1e9:.1f} GB there, and this process can have "
            f"{room[wanted] / 1e9:.1f} GB; use 'auto' or 'disk'"
        )
    return wanted


def available_memory() -> int:
    """Bytes that may still be allocated on this machine, or in the control groups of this process (SLURM's --mem)."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].removesuffix("kB")) * 1024
    return max(0, min([free, *_rooms(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text())]))


def _rooms(root: Path, groups: str) -> Iterator[int]:
    """What is left of the limits of control groups, of version 1 or 2, and of those that they are in."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit_name, used_name = root, "memory.max", "anon"
        elif "memory" in controllers.split(","):
            top, limit_name, used_name = root / "memory", "memory.limit_in_bytes", "total_rss"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, used = folder / limit_name, folder / "memory.stat"
            if top in (folder, *folder.parents) and limit.is_file() and limit.read_text().strip() != "max":
                # Cached files do not count: they give way.
                stat = dict(entry.split() for entry in used.read_text().splitlines())
                yield int(limit.read_text()) - int(stat[used_name])
