"""Reader of element stores."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.core.checksums import checksum
from avdfd.core.errors import UserError
from avdfd.elements.form import (
    LANDMARKS,
    MEMBERS,
    Element,
    data_size,
    decode_frame,
    decode_landmarks,
    mel_of,
    pcm,
    repeated,
)
from avdfd.elements.index import read_table
from avdfd.elements.layout import check_size, read_settings, shard_name
from avdfd.elements.table import FIRST_FRAME, LANDMARKS_SUM
from avdfd.features.window import FACE_SIZE, FRAMES, MEL_BINS, MEL_FRAMES, WINDOW, frames_of

_SUM_OF = {suffix: number for number, suffix in enumerate(MEMBERS, 1)}
_OPEN = 128  # maximum number of shards that a process keeps open; a large store has more than the system allows


class ElementStore:
    """Elements of a folder by key, in the order of their keys: windows, or whole clips.

    It can be used in forked or spawned worker processes, which share the memory of its index. Raises UserError if the
    folder is not a store, or if it has other elements than are wanted: `whole` clips, windows, or None for either.
    """

    def __init__(self, root: str | Path, *, whole: bool | None = False) -> None:
        self.root = Path(root)
        self.metas = read_table(self.root)
        if not self.metas:
            raise UserError(f"{root}: the element store is empty; data/preprocess.py fills it")
        self.version = self.metas.version
        self.whole = bool(read_settings(self.root)["settings"].get("media.whole"))
        """True if the elements are whole clips, False if they are windows."""
        if whole is not None and self.whole != whole:
            has, needs = ("whole clips", "windows of 3.072 s") if self.whole else ("windows of 3.072 s", "whole clips")
            remedy = "true (config/preprocess_whole.json), or set model.clips of MRDF to window" if whole else "false"
            raise UserError(f"{root}: has {has}, but {needs} are needed; make a store with media.whole set to {remedy}")
        self._map()
        self._check_shards()

    def _map(self) -> None:
        names = ("start", "end", "part", "shard", "last", *MEMBERS, LANDMARKS, LANDMARKS_SUM, "sizes", "sums")
        self._numbers = {name: self.metas.numbers(name) for name in names}
        self._shards: OrderedDict[tuple[int, int], int] = OrderedDict()

    def _check_shards(self) -> None:
        """Check that no shard is missing or shorter than its elements, as in a store that was copied in part."""
        places = (self._numbers["part"].astype(np.int64) << 32) | self._numbers["shard"]
        order = np.argsort(places, kind="stable")
        shards, starts = np.unique(places[order], return_index=True)
        ends = np.maximum.reduceat(self._numbers["last"][order], starts)
        for place, end in zip(shards.tolist(), ends.tolist(), strict=True):
            check_size(self.root / shard_name(place >> 32, place & 0xFFFFFFFF), end)

    def __len__(self) -> int:
        return len(self.metas)

    @property
    def has_waveforms(self) -> bool:
        """True if all elements have a waveform."""
        return bool((self._numbers["wav"] >= 0).all())

    @property
    def has_frames(self) -> bool:
        """True if all elements have frames."""
        return bool((self._numbers["mjpeg"] >= 0).all())

    @property
    def has_landmarks(self) -> bool:
        """True if all elements have landmarks."""
        return bool((self._numbers[LANDMARKS] >= 0).all())

    def read(
        self,
        key: str,
        *,
        waveform: bool = False,
        mel: bool = True,
        mel_err: bool = False,
        frames: Sequence[int] | None = None,
        landmarks: bool = False,
    ) -> Element:
        """Read the requested arrays of an element; `frames` are frame numbers, and only these frames are decoded.
        Numbers beyond the last frame are left out.

        A clip shorter than a window is repeated to fill one, unless the store has whole clips. A mel that is not stored
        is computed from the waveform. Raises KeyError for an unknown key, and UserError for an array that the store
        does not have.
        """
        row = self.metas.find(key)
        file = self._shard(int(self._numbers["part"][row]), int(self._numbers["shard"][row]))
        has_mel = self._numbers["mel.npy"][row] >= 0
        samples = self._samples(file, row) if waveform or (mel and not has_mel) else None
        stored = self._array(file, row, "mel.npy") if mel and has_mel else None
        return Element(
            meta=self.metas[row],
            waveform=samples if waveform else None,
            mel=mel_of(samples) if mel and samples is not None and not has_mel else stored,
            mel_err=self._array(file, row, "mel_err.npy") if mel_err else None,
            frames=self._frames(file, row, frames) if frames is not None else None,
            landmarks=self._landmarks(file, row) if landmarks else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        kept = ("root", "metas", "version", "whole")  # open files belong to their process
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def _samples(self, file: int, row: int) -> np.ndarray:
        samples = pcm(self._member(file, row, "wav"))
        return samples if self.whole else repeated(samples, WINDOW)

    def _landmarks(self, file: int, row: int) -> np.ndarray:
        points = decode_landmarks(self._member(file, row, LANDMARKS).view("<i2"))
        return points if self.whole else repeated(points, FRAMES)

    def _array(self, file: int, row: int, suffix: str) -> np.ndarray:
        return self._member(file, row, suffix).view("<f4").reshape(MEL_BINS, MEL_FRAMES)

    def _member(self, file: int, row: int, suffix: str) -> np.ndarray:
        data = _bytes(self.root, file, self._place(row, suffix), data_size(suffix, self._seconds(row)))
        landmarks = suffix == LANDMARKS
        expected = self._numbers[LANDMARKS_SUM][row] if landmarks else self._numbers["sums"][row, _SUM_OF[suffix]]
        self._check(data, row, expected, suffix)
        return data

    def _check(self, data: np.ndarray, row: int, expected: int, what: str) -> None:
        """Raise UserError if data differ from their checksum. Stores made before there were checksums have none: 0."""
        if expected and checksum(data) != expected:
            raise self._damaged(row, what)

    def _damaged(self, row: int, what: str) -> UserError:
        shard = shard_name(int(self._numbers["part"][row]), int(self._numbers["shard"][row]))
        source, key = (self.metas.value(name, row) for name in ("source", "key"))
        return UserError(
            f"{self.root / shard}: {what} of the clip {source} is damaged ({key}); run data/preprocess.py again to "
            "restore it"
        )

    def _seconds(self, row: int) -> float:
        return float(self._numbers["end"][row] - self._numbers["start"][row])

    def _place(self, row: int, suffix: str) -> int:
        place = int(self._numbers[suffix][row])
        if place < 0:
            raise UserError(
                f"{self.root}: its elements have no {suffix}; make a store with another media.keep (or media.mel_err)"
            )
        return place

    def _frames(self, file: int, row: int, wanted: Sequence[int]) -> np.ndarray:
        sizes = self._numbers["sizes"][row].astype(np.int64)
        starts = self._place(row, "mjpeg") + np.cumsum(sizes) - sizes
        count = frames_of(self._seconds(row))
        present = [k % count for k in wanted if k < (count if self.whole else FRAMES)]
        out = np.empty((len(present), FACE_SIZE, FACE_SIZE, 3), np.uint8)
        for frame, k in zip(out, present, strict=True):
            jpeg = _bytes(self.root, file, int(starts[k]), int(sizes[k]))
            self._check(jpeg, row, self._numbers["sums"][row, FIRST_FRAME + k], f"frame {k}")
            try:
                frame[:] = decode_frame(jpeg)
            except UserError:
                raise self._damaged(row, f"frame {k}") from None
        return out

    def _shard(self, part: int, number: int) -> int:
        """Return the open file of a shard; with too many open files, the least recently used one is closed."""
        place = (part, number)
        if place in self._shards:
            self._shards.move_to_end(place)
            return self._shards[place]
        path = self.root / shard_name(part, number)
        try:
            self._shards[place] = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise UserError(f"{path}: missing; run data/preprocess.py again to restore it") from None
        if len(self._shards) > _OPEN:
            os.close(self._shards.popitem(last=False)[1])
        return self._shards[place]


def _bytes(root: Path, file: int, start: int, count: int) -> np.ndarray:
    data = np.empty(count, np.uint8)
    if os.preadv(file, [data.data], start) != count:
        raise UserError(f"{root}: a shard is shorter than the index says; delete the store and make it again")
    return data
