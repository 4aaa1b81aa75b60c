"""Elements: windows of clips, packed into tar shards with an index.

A store is a folder of

    store.json        version and settings of the preprocessing
    shard-00000.tar   WebDataset shards: KEY.json (metadata), KEY.wav (16 kHz, 16 bit), KEY.mel.npy (float32),
                      KEY.mjpeg (77 JPEG frames, which FFmpeg plays)
    index.jsonl       a line per source: what it is, and where in the shards its windows are, to the single frame

so that a reader gets the frames it wants with a few positioned reads, and other tools read the shards as they are.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.element_form import (
    Element,
    ElementMeta,
    decode_frame,
    meta_of,
    pack,
    pcm,
    read_index,
    read_settings,
    shard_name,
    unpack,
    unpack_sizes,
)
from avdfd.element_writer import ElementWriter
from avdfd.errors import UserError
from avdfd.features import FACE_SIZE, MEL_BINS, MEL_FRAMES, WINDOW

__all__ = ["Element", "ElementMeta", "ElementStore", "ElementWriter", "pack", "unpack"]


class ElementStore:
    """Elements of a folder by key or position, in the order of their keys. Raises UserError if it is not a store.

    It can be used in worker processes, forked or spawned.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.version = read_settings(self.root)["version"]
        with _no_collection():
            windows = sorted(self._windows(), key=lambda pair: pair[0].key)
            self.metas = [meta for meta, _ in windows]
        if not windows:
            raise UserError(f"{root}: the element store is empty; data/preprocess.py fills it")
        self.index = {meta.key: position for position, meta in enumerate(self.metas)}
        self._places = [place for _, place in windows]
        self._shards: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.metas)

    def read(
        self, key: str, *, waveform: bool = False, mel: bool = True, frames: Sequence[int] | None = None
    ) -> Element:
        """Reads the parts that are asked for, of the frames only those asked for. Raises KeyError."""
        position = self.index[key]
        place = self._places[position]
        file = self._shard(place["shard"])
        _, wav, log_mels, pictures, _ = place["at"]
        return Element(
            meta=self.metas[position],
            waveform=pcm(self._bytes(file, wav, 2 * WINDOW)) if waveform else None,
            mel=self._bytes(file, log_mels, 4 * MEL_BINS * MEL_FRAMES).view("<f4").reshape(MEL_BINS, MEL_FRAMES)
            if mel
            else None,
            frames=self._frames(file, pictures, place["sizes"], frames) if frames is not None else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}  # open files stay with their process

    def _windows(self) -> Iterator[tuple[ElementMeta, dict[str, Any]]]:
        for record in read_index(self.root)[0].values():
            for window in record["windows"]:
                yield meta_of(record["clip"], window, self.version), window

    def _frames(self, file: int, start: int, packed_sizes: str, wanted: Sequence[int]) -> np.ndarray:
        sizes = unpack_sizes(packed_sizes)
        starts = start + np.cumsum(sizes) - sizes
        out = np.empty((len(wanted), FACE_SIZE, FACE_SIZE, 3), np.uint8)
        for row, k in zip(out, wanted, strict=True):
            jpeg = self._bytes(file, int(starts[k]), int(sizes[k]))
            row[:] = decode_frame(jpeg)
        return out

    def _shard(self, number: int) -> int:
        if number not in self._shards:
            path = self.root / shard_name(number)
            try:
                self._shards[number] = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise UserError(f"{path}: missing; run data/preprocess.py again to make it anew") from None
        return self._shards[number]

    def _bytes(self, file: int, start: int, count: int) -> np.ndarray:
        data = bytearray(count)
        if os.preadv(file, [data], start) != count:
            raise UserError(f"{self.root}: a shard is shorter than the index says; delete the store and make it anew")
        return np.frombuffer(data, np.uint8)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the search for garbage: a large index has none, and looking through it takes longer than reading it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
