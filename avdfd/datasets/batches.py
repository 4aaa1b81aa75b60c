"""The batches of an epoch, prepared and on the device, wherever their elements are.

from                prepared
the disk, CPU       by loader processes, which share the work
the disk, GPU       on the GPU, of what loader processes have read
memory              on the device, of rows that are there: no loader process has part in it
"""

from collections.abc import Iterator
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avdfd.config import DataConfig
from avdfd.core import fields
from avdfd.datasets.loaders import ElementSet, Reads, to_device
from avdfd.datasets.residency import Place, Resident, choose, size_of
from avdfd.datasets.samplers import Draw, Share, Shared


class Feed:
    """Iterating gives the batches of the epoch at which `order` is, each with its share.

    What is kept in memory is read when it is wanted first, by loader processes, and is there from then on.
    """

    def __init__(
        self, elements: ElementSet, order: Shared, device: torch.device, *, workers: int = 0, place: Place = "disk"
    ) -> None:
        self.elements, self.order, self.device = elements, order, device
        self.workers, self.place = workers, place
        reads = reads_on(elements, device)
        self._rows: Resident[Any] | None = None
        self._loader: DataLoader[Any] | None
        if place == "disk":
            self._prepared = device.type == "cpu"
            self._loader = _loader(_Read(elements, reads, prepare=self._prepared), order, workers, device)
        else:
            self._rows = Resident.empty(_first(elements, reads), len(elements), place, device)
            self._there = np.zeros(len(elements), bool)
            self._loader = _loader(_Keep(elements, reads), _Missing(order, self._there), workers, device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Share, Any]]:
        return self._from_disk() if self._rows is None else self._from_memory(self._rows)

    def __str__(self) -> str:
        if self._rows is None:
            return f"on the disk, read by {self.workers or 'no'} loader processes"
        where = "the GPU" if self.place == "gpu" else "memory"
        return f"{size_of(self._rows.columns) / 1e9:.2f} GB in {where}"

    def _from_disk(self) -> Iterator[tuple[Share, Any]]:
        assert self._loader is not None, "the disk is always read"
        for share, read in zip(self.order.shares(), self._loader, strict=True):
            batch = to_device(read, self.device)
            yield share, batch if self._prepared else self.elements.prepare(batch, share.draws)

    def _from_memory(self, rows: Resident[Any]) -> Iterator[tuple[Share, Any]]:
        for share, read in zip(self.order.shares(), self._new(), strict=False):
            if read is not None:
                positions, values = read
                rows.put(positions, values)
                self._there[positions.numpy()] = True
            raw = rows.take([draw.position for draw in share.draws])
            yield share, self.elements.prepare(raw, share.draws)

    def _new(self) -> Iterator[Any]:
        """What the loader has read for every batch of the epoch, if there is anything to read."""
        if self._there.all():
            self._loader = None  # its processes end
        if self._loader is not None:
            for share in self.order.shares():
                if not all(self._there[draw.position] for draw in share.draws):
                    return iter(self._loader)
        return repeat(None)


def feeds(cfg: DataConfig, device: torch.device, *sets: tuple[ElementSet, Shared]) -> tuple[Feed, ...]:
    """A feed for each of some sets with its order, all in the place that the config says, or that suits them.

    Raises UserError if they do not fit there.
    """
    reads = [reads_on(elements, device) for elements, _ in sets]
    # Pictures take eight times their JPEGs, which more loader processes read faster: they are kept on request only.
    pictures = any(one.frames is not None for one in reads)
    place: Place = "disk"
    if cfg.home != "disk" and not (cfg.home == "auto" and pictures):
        firsts = [_first(elements, one) for (elements, _), one in zip(sets, reads, strict=True)]
        total = sum(size_of(first) * len(elements) for first, (elements, _) in zip(firsts, sets, strict=True))
        place = choose(cfg.home, total, device)
    return tuple(Feed(elements, order, device, workers=cfg.workers, place=place) for elements, order in sets)


def reads_on(elements: ElementSet, device: torch.device) -> Reads:
    """What is read for a device: a GPU makes a mel of a quarter of the bytes, a CPU had better read it."""
    reads = elements.inputs.reads
    if device.type == "cuda" and reads.mel and elements.store.has_waveforms:
        return reads._replace(mel=False, waveform=True)
    return reads


def _first(elements: ElementSet, reads: Reads) -> Any:
    """The raw example of an element, without batch dimension."""
    return fields.change(elements.raw([0], reads), itemgetter(0))


class _Read(Dataset[Any]):
    """A raw batch of draws, or the batch itself."""

    def __init__(self, elements: ElementSet, reads: Reads, *, prepare: bool) -> None:
        self.elements, self.reads, self.prepare = elements, reads, prepare

    def __getitems__(self, draws: list[Draw]) -> Any:
        raw = self.elements.raw([draw.position for draw in draws], self.reads)
        return self.elements.prepare(raw, draws) if self.prepare else raw


class _Keep(Dataset[Any]):
    """Positions and their raw batch; None if there are none."""

    def __init__(self, elements: ElementSet, reads: Reads) -> None:
        self.elements, self.reads = elements, reads

    def __getitems__(self, positions: list[int]) -> tuple[Tensor, Any] | None:
        return (torch.tensor(positions), self.elements.raw(positions, self.reads)) if positions else None


class _Missing(Sampler[list[int]]):
    """Of every batch the positions that are not there yet."""

    def __init__(self, order: Shared, there: np.ndarray) -> None:
        self.order, self.there = order, there

    def __iter__(self) -> Iterator[list[int]]:
        for share in self.order.shares():
            yield sorted({draw.position for draw in share.draws if not self.there[draw.position]})


def _loader(data: Dataset[Any], batches: Sampler[Any], workers: int, device: torch.device) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else it draws on the global one, more often without workers than with
    )


def _as_it_is(batch: Any) -> Any:
    return batch
