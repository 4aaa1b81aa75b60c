"""The batches of an epoch, prepared and on the device.

elements on         are prepared
disk, for a CPU     by loader processes, which share the work
disk, for a GPU     on the GPU, after loader processes have read them, or by these if they augment waveforms; frames
                    are decoded on the GPU or by loader processes (`data.decode`)
memory              on the device, from the rows in memory, without loader processes; on a CPU by another thread
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avdfd.config import DataConfig
from avdfd.core import fields
from avdfd.core.errors import UserError
from avdfd.datasets import jpegs
from avdfd.datasets.background import in_background
from avdfd.datasets.hand_over import hand_over, start
from avdfd.datasets.jpegs import decoded_on
from avdfd.datasets.loaders import ElementSet, EncodedForm, Reads, to_device
from avdfd.datasets.residency import Place, Resident, choose, size_of
from avdfd.datasets.samplers import Draw, Share, Shared
from avdfd.elements import ElementStore

_AHEAD = 1  # batches prepared beside the step


class Decoder(NamedTuple):
    """Decoder of the frames of a batch."""

    on_device: bool
    """True for the device, False for loader processes, or where the elements are read."""
    words: str = ""
    """Words of the log about it; empty where there is no choice."""


class Batches:
    """The batches of an epoch, with each process's share of them, in the current epoch of `order`.

    Elements that are kept in memory are loaded lazily, by loader processes, and stay there.
    """

    def __init__(
        self,
        elements: ElementSet,
        order: Shared,
        device: torch.device,
        *,
        workers: int = 0,
        place: Place = "disk",
        decoder: "Decoder | None" = None,
    ) -> None:
        self.elements, self.order, self.device = elements, order, device
        self.workers, self.place, self.decoder = workers, place, decoder or Decoder(False)
        reads = reads_on(elements, device)._replace(encoded=self.decoder.on_device)
        self._rows: Resident[Any] | None = None
        self._loader: DataLoader[Any] | None
        if place == "disk":
            self._prepared = elements.augments_waveforms or (device.type == "cpu" and not self.decoder.on_device)
            self._loader = _loader(_ReadDraws(elements, reads, prepare=self._prepared), order, workers, device)
        else:
            self._rows = Resident.empty(_first(elements, reads), len(elements), place, device)
            self._is_read = np.zeros(len(elements), bool)
            self._loader = _loader(_ReadPositions(elements, reads), _Unread(order, self._is_read), workers, device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Share, Any]]:
        if self._rows is None:
            return self._from_disk()
        calls = self._from_memory(self._rows)
        if self.device.type != "cpu":
            return (call() for call in calls)
        return in_background(calls, _AHEAD, torch_threads=1)  # the step has the other cores

    def __str__(self) -> str:
        if self._rows is None:
            return f"on disk, read by {self.workers or 'no'} loader processes{self.decoder.words}"
        where = "the GPU" if self.place == "gpu" else "memory"
        return f"{size_of(self._rows.tensors) / 1e9:.2f} GB in {where}"

    def _from_disk(self) -> Iterator[tuple[Share, Any]]:
        assert self._loader is not None, "elements on disk are always loaded"
        for share, read in zip(self.order.shares(), start(self._loader), strict=True):
            batch = self._decoded(read, share) if self.decoder.on_device else to_device(read, self.device)
            yield share, batch if self._prepared else self.elements.prepare(batch, share.draws)

    def _decoded(self, raw: Any, share: Share) -> Any:
        """Move a raw batch to the device and decode its frames there.

        If that fails, it is read again with its frames: a damaged one raises UserError that names it and its clip, and
        one that the device alone cannot decode is decoded here.
        """
        try:
            return decoded_on(raw, self.device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            positions = [draw.position for draw in share.draws]
            return to_device(self.elements.raw(positions, reads_on(self.elements, self.device)), self.device)

    def _from_memory(self, rows: Resident[Any]) -> Iterator[Callable[[], tuple[Share, Any]]]:
        """Yield for each batch of the epoch the call that prepares it."""
        for share, read in zip(self.order.shares(), self._newly_read(), strict=False):
            if read is not None:
                positions, values = read
                rows.put(positions, values)
                self._is_read[positions.numpy()] = True
            yield partial(self._prepared_from, rows, share)

    def _prepared_from(self, rows: Resident[Any], share: Share) -> tuple[Share, Any]:
        return share, self.elements.prepare(rows.take([draw.position for draw in share.draws]), share.draws)

    def _newly_read(self) -> Iterator[Any]:
        """Yield what the loader has read for each batch of the epoch, None if it reads nothing."""
        if self._is_read.all():
            self._loader = None  # ends its processes
        if self._loader is not None:
            for share in self.order.shares():
                if not all(self._is_read[draw.position] for draw in share.draws):
                    return start(self._loader)
        return repeat(None)


def open_batches(cfg: DataConfig, device: torch.device, *sets: tuple[ElementSet, Shared]) -> tuple[Batches, ...]:
    """Return the batches of each set of elements in its order, all kept where the config says, or where they fit.

    Raises UserError if they do not fit there, and anywhere but on disk for whole clips, whose rows differ in length,
    and for augmented waveforms, which loader processes prepare.
    """
    reads = [reads_on(elements, device) for elements, _ in sets]
    # Decoded frames take eight times the memory of their JPEGs: they are kept on request only.
    video = any(one.frames is not None for one in reads)
    place: Place = "disk"
    whole = any(elements.store.whole for elements, _ in sets)
    if whole and cfg.home not in ("auto", "disk"):
        raise UserError(f"data.home '{cfg.home}': whole clips differ in length and stay on disk; set it to 'auto'")
    augmented = any(elements.augments_waveforms for elements, _ in sets)
    if augmented and cfg.home not in ("auto", "disk"):
        raise UserError(
            f"data.home '{cfg.home}': waveforms are augmented by loader processes, as they read them; set it to 'auto'"
        )
    if cfg.home != "disk" and not (cfg.home == "auto" and (video or whole or augmented)):
        firsts = [_first(elements, one) for (elements, _), one in zip(sets, reads, strict=True)]
        total = sum(size_of(first) * len(elements) for first, (elements, _) in zip(firsts, sets, strict=True))
        place = choose(cfg.home, total, device)
    decoder = choose_decoder(cfg.decode, device, place, *(elements for elements, _ in sets))
    return tuple(
        Batches(elements, order, device, workers=cfg.workers, place=place, decoder=decoder) for elements, order in sets
    )


def choose_decoder(
    wanted: Literal["auto", "cpu", "cuda"], device: torch.device, place: Place, *sets: ElementSet
) -> Decoder:
    """Choose who decodes the frames of these elements. Raises UserError if a GPU is wanted that cannot do it."""
    if not any(elements.inputs.reads.frames is not None for elements in sets):
        reason = "no frames are read"
    elif device.type != "cuda":
        reason = f"the run uses the {device.type}"
    elif wanted == "cpu":
        reason = "data.decode"
    elif place != "disk":
        reason = f"decoded frames stay in memory (data.home '{place}')"
    elif not all(isinstance(elements.store, ElementStore) and not elements.store.whole for elements in sets):
        reason = "that takes a store of windows"
    elif not all(isinstance(elements.inputs, EncodedForm) and elements.inputs.takes_jpegs for elements in sets):
        reason = "the inputs are made of frames before these are in a batch"
    else:
        reason = jpegs.problem_of(device)
    if not reason:
        return Decoder(True, ", frames decoded by nvJPEG")
    if wanted == "cuda":
        raise UserError(f"data.decode 'cuda': {reason}; choose 'auto'")
    has_choice = device.type == "cuda" and any(elements.inputs.reads.frames is not None for elements in sets)
    return Decoder(False, f", frames decoded by these: {reason}" if has_choice else "")


def reads_on(elements: ElementSet, device: torch.device) -> Reads:
    """Return what is read for a device: a GPU computes the mel from the waveform, which has a quarter of the bytes."""
    reads = elements.inputs.reads
    if device.type == "cuda" and reads.mel and elements.store.has_waveforms:
        return reads._replace(mel=False, waveform=True)
    return reads


def _first(elements: ElementSet, reads: Reads) -> Any:
    """Return the raw example of one element, without batch dimension."""
    return fields.map_tensors(elements.raw([0], reads), itemgetter(0))


class _ReadDraws(Dataset[Any]):
    """Reads the raw batch of some draws, and prepares it if asked to."""

    def __init__(self, elements: ElementSet, reads: Reads, *, prepare: bool) -> None:
        self.elements, self.reads, self.prepare = elements, reads, prepare

    def __getitems__(self, draws: list[Draw]) -> Any:
        raw = self.elements.raw([draw.position for draw in draws], self.reads)
        return self.elements.prepare(raw, draws) if self.prepare else raw


class _Rows(NamedTuple):
    """Raw batch of the elements at some positions."""

    positions: Tensor
    values: Any


class _ReadPositions(Dataset[Any]):
    """Reads the raw batch at some positions; None if there are none."""

    def __init__(self, elements: ElementSet, reads: Reads) -> None:
        self.elements, self.reads = elements, reads

    def __getitems__(self, positions: list[int]) -> _Rows | None:
        return _Rows(torch.tensor(positions), self.elements.raw(positions, self.reads)) if positions else None


class _Unread(Sampler[list[int]]):
    """Yields the positions of every batch that have not been read yet."""

    def __init__(self, order: Shared, is_read: np.ndarray) -> None:
        self.order, self.is_read = order, is_read

    def __iter__(self) -> Iterator[list[int]]:
        for share in self.order.shares():
            yield sorted({draw.position for draw in share.draws if not self.is_read[draw.position]})


def _loader(data: Dataset[Any], batches: Sampler[Any], workers: int, device: torch.device) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=hand_over,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # the global one would be drawn from more often without workers than with
    )
