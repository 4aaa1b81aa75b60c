"""Audio of clips beyond a window: windows of one clip that overlap or adjoin, joined and cut again.

M elements
"""

from collections.abc import Sequence

import numpy as np

from avdfd.core.errors import UserError
from avdfd.elements import ElementMeta, coded, times
from avdfd.elements.protocol import Store
from avdfd.features.window import SAMPLE_RATE


class JoinedAudio:
    """Audio of the clips of some elements. It can be sent to worker processes.

    Windows of one clip are joined where the next one starts at the latest when those before it have ended. Nothing is
    repeated or filled: audio that no window covers is not available.
    """

    def __init__(self, store: Store, metas: Sequence[ElementMeta]) -> None:
        clips = coded(metas, "source").codes
        self._store = store
        self._keys = np.array([meta.key for meta in metas], object)
        self._rows = {key: row for row, key in enumerate(self._keys)}
        self._spans = np.rint(times(metas) * SAMPLE_RATE).astype(np.int64)
        self._order = np.lexsort((self._spans[:, 0], clips))
        self._stretch = np.zeros(len(clips), np.int64)
        """(M,) number of the stretch of joined windows."""
        bounds: list[tuple[int, int]] = []
        clip = None
        for row in self._order:
            start, end = self._spans[row].tolist()
            if clips[row] != clip or start > bounds[-1][1]:
                clip = clips[row]
                bounds.append((start, end))
            bounds[-1] = (bounds[-1][0], max(end, bounds[-1][1]))
            self._stretch[row] = len(bounds) - 1
        self._bounds = np.array(bounds, np.int64).reshape(-1, 2)
        self._firsts = np.searchsorted(self._stretch[self._order], np.arange(len(bounds) + 1))

    def covers(self, shift: int) -> np.ndarray:
        """Return (M,) bool: whether the audio `shift` samples after each window is known in full."""
        low, high = self._bounds[self._stretch].T
        return (self._spans[:, 0] + shift >= low) & (self._spans[:, 1] + shift <= high)

    def read(self, key: str, shift: int) -> np.ndarray:
        """Return the audio (S,) float32 that starts `shift` samples after the window, and is as long.

        Raises UserError if no windows cover it.
        """
        row = self._rows[key]
        start, end = (self._spans[row] + shift).tolist()
        low, high = self._bounds[self._stretch[row]].tolist()
        if start < low or end > high:
            raise UserError(f"{self._store.root}: {key} has no neighbouring windows with the audio beyond it")
        audio = np.empty(end - start, np.float32)
        first, last = self._firsts[self._stretch[row] : self._stretch[row] + 2]
        for other in self._order[first:last]:
            begin, stop = self._spans[other].tolist()
            common = max(start, begin), min(end, stop)
            if common[0] < common[1]:
                samples = self._store.read(self._keys[other], waveform=True, mel=False).waveform
                audio[common[0] - start : common[1] - start] = samples[common[0] - begin : common[1] - begin]
        return audio
