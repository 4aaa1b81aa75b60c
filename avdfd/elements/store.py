"""Reader of element stores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.core.checksums import checksum
from avdfd.core.errors import UserError
from avdfd.elements.form import (
    LANDMARKS,
    MEMBERS,
    Element,
    Jpegs,
    data_size,
    decode_frame,
    decode_landmarks,
    jpeg_side,
    mel_of,
    pcm,
    repeated,
)
from avdfd.elements.layout import read_settings
from avdfd.elements.shards import Place, shards_of
from avdfd.elements.table import FIRST_FRAME, LANDMARKS_SUM
from avdfd.features.window import FACE_SIZE, FRAMES, MEL_BINS, MEL_FRAMES, WINDOW, frames_of

_SUM_OF = {suffix: number for number, suffix in enumerate(MEMBERS, 1)}

Part = str | int
"""Key of data of an element: the suffix of a member, or the number of a frame."""


class ElementStore:
    """Elements of a folder, or of a URL, by key, in the order of their keys: windows, or whole clips.

    It can be used in forked or spawned worker processes, which share the memory of its index. Raises UserError if the
    folder is not a store, or if it has other elements than are wanted: `whole` clips, windows, or None for either.
    `root` is the folder, of a store at a URL that of its index and caches on this machine.
    """

    def __init__(self, root: str | Path, *, whole: bool | None = False) -> None:
        self._shards = shards_of(root)
        self.root = self._shards.folder
        self.metas = self._shards.table()
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

    def _check_shards(self) -> None:
        """Check that no shard is missing or shorter than its elements, as in a store that was copied in part."""
        places = (self._numbers["part"].astype(np.int64) << 32) | self._numbers["shard"]
        order = np.argsort(places, kind="stable")
        shards, starts = np.unique(places[order], return_index=True)
        ends = np.maximum.reduceat(self._numbers["last"][order], starts)
        numbers = [(place >> 32, place & 0xFFFFFFFF) for place in shards.tolist()]
        self._shards.check(zip(numbers, ends.tolist(), strict=True))

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
        encoded: bool = False,
    ) -> Element:
        """Read the requested arrays of an element; `frames` are frame numbers, and only these frames are decoded, or
        none of them if they are wanted `encoded`. Numbers beyond the last frame are left out.

        A clip shorter than a window is repeated to fill one, unless the store has whole clips. A mel that is not stored
        is computed from the waveform. Raises KeyError for an unknown key, and UserError for an array that the store
        does not have.
        """
        row = self.metas.find(key)
        has_mel = bool(self._numbers["mel.npy"][row] >= 0)
        wanted = {
            "wav": waveform or (mel and not has_mel),
            "mel.npy": mel and has_mel,
            "mel_err.npy": mel_err,
            LANDMARKS: landmarks,
        }
        places: dict[Part, Place] = {
            suffix: self._member(row, suffix) for suffix, is_wanted in wanted.items() if is_wanted
        }
        numbers = [] if frames is None else self._present(row, frames)
        if frames is not None:
            places.update(self._jpegs(row, numbers))
        read = self._read(row, places)
        samples = self._samples(read["wav"]) if "wav" in read else None
        return Element(
            meta=self.metas[row],
            waveform=samples if waveform else None,
            mel=_mel(read["mel.npy"])
            if "mel.npy" in read
            else mel_of(samples)
            if mel and samples is not None
            else None,
            mel_err=_mel(read["mel_err.npy"]) if mel_err else None,
            frames=None if frames is None else (self._encoded if encoded else self._decoded)(row, numbers, read),
            landmarks=self._points(read[LANDMARKS]) if landmarks else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        kept = ("root", "metas", "version", "whole", "_shards")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def _member(self, row: int, suffix: str) -> Place:
        """Return first byte and number of bytes of a member's data."""
        return self._place(row, suffix), data_size(suffix, self._seconds(row))

    def _present(self, row: int, wanted: Sequence[int]) -> list[int]:
        """Return the numbers of the stored frames that are the wanted ones of the element."""
        count = frames_of(self._seconds(row))
        return [k % count for k in wanted if k < (count if self.whole else FRAMES)]

    def _jpegs(self, row: int, numbers: Sequence[int]) -> dict[Part, Place]:
        sizes = self._numbers["sizes"][row].astype(np.int64)
        starts = self._place(row, "mjpeg") + np.cumsum(sizes) - sizes
        return {k: (int(starts[k]), int(sizes[k])) for k in numbers}

    def _read(self, row: int, places: Mapping[Part, Place]) -> dict[Part, np.ndarray]:
        """Read members and frames of an element, and compare them with their checksums."""
        shard = self._shard(row)
        read = dict(zip(places, self._shards.read(shard, [*places.values()]), strict=True)) if places else {}
        for name, data in read.items():
            if isinstance(name, int):
                self._check(data, row, self._numbers["sums"][row, FIRST_FRAME + name], f"frame {name}")
            elif name == LANDMARKS:
                self._check(data, row, self._numbers[LANDMARKS_SUM][row], name)
            else:
                self._check(data, row, self._numbers["sums"][row, _SUM_OF[name]], name)
        return read

    def _samples(self, data: np.ndarray) -> np.ndarray:
        samples = pcm(data)
        return samples if self.whole else repeated(samples, WINDOW)

    def _points(self, data: np.ndarray) -> np.ndarray:
        points = decode_landmarks(data.view("<i2"))
        return points if self.whole else repeated(points, FRAMES)

    def _decoded(self, row: int, numbers: Sequence[int], read: Mapping[Part, np.ndarray]) -> np.ndarray:
        out = np.empty((len(numbers), FACE_SIZE, FACE_SIZE, 3), np.uint8)
        for frame, k in zip(out, numbers, strict=True):
            try:
                frame[:] = decode_frame(read[k])
            except UserError:
                raise self._damaged(row, f"frame {k}") from None
        return out

    def _encoded(self, row: int, numbers: Sequence[int], read: Mapping[Part, np.ndarray]) -> Jpegs:
        """Return the frames without decoding them, once their headers are those of frames."""
        jpegs = [read[k] for k in numbers]
        for k, jpeg in zip(numbers, jpegs, strict=True):
            if jpeg_side(jpeg) != (FACE_SIZE, FACE_SIZE):  # a decoder allocates what the header says
                raise self._damaged(row, f"frame {k}")
        return Jpegs(np.concatenate(jpegs), np.array([len(jpeg) for jpeg in jpegs]))

    def _shard(self, row: int) -> Place:
        return int(self._numbers["part"][row]), int(self._numbers["shard"][row])

    def _check(self, data: np.ndarray, row: int, expected: int, what: str) -> None:
        """Raise UserError if data differ from their checksum. Stores made before there were checksums have none: 0."""
        if expected and checksum(data) != expected:
            raise self._damaged(row, what)

    def _damaged(self, row: int, what: str) -> UserError:
        source, key = (self.metas.value(name, row) for name in ("source", "key"))
        return UserError(
            f"{self._shards.name(self._shard(row))}: {what} of the clip {source} is damaged ({key}); "
            f"{self._shards.remedy}"
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


def _mel(data: np.ndarray) -> np.ndarray:
    return data.view("<f4").reshape(MEL_BINS, MEL_FRAMES)
