"""An element store that replaces the audio or the frames of its elements when they are read."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from avdfd.core.seeding import generator_of
from avdfd.elements import Element, ElementStore
from avdfd.elements.form import mel_of
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import FRAMES


class Change(NamedTuple):
    """A change of one element."""

    audio: str | None = None
    """Key of the element whose audio it gets; None for its own."""
    frames: str | None = None
    """Key of the element whose frames and landmarks it gets; None for its own."""
    moved: int = 0
    """Samples by which its audio is later in the clip than its frames."""
    reverse: bool = False
    """True if its audio is reversed."""
    order: Literal["own", "shuffled", "still"] = "own"
    """Order of the moments of frames and landmarks: as they are, permuted alike, or the first throughout."""


class ChangedStore:
    """The elements of a store with a change each; those without one cannot be read.

    Changed audio has the samples of stored audio, and the mel is computed from it. An element is the same whenever it
    is read. The store can be used in worker processes.
    """

    def __init__(self, store: ElementStore, changes: Mapping[str, Change], joined: JoinedAudio | None = None) -> None:
        self.store, self.changes, self.joined = store, changes, joined
        self.root, self.metas, self.version, self.whole = store.root, store.metas, store.version, store.whole
        self.has_waveforms, self.has_frames = store.has_waveforms, store.has_frames
        self.has_landmarks = store.has_landmarks

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
        """Read an element as `ElementStore.read` does."""
        change = self.changes[key]
        audio = self._audio(key, change, waveform, mel, mel_err)
        return Element(
            self.metas[self.metas.find(key)],
            audio.waveform,
            audio.mel,
            audio.mel_err,
            None if frames is None else self._frames(key, change, frames),
            self._landmarks(key, change) if landmarks else None,
        )

    def _audio(self, key: str, change: Change, waveform: bool, mel: bool, mel_err: bool) -> Element:
        source = change.audio or key
        if not change.moved and not change.reverse:
            return self.store.read(source, waveform=waveform, mel=mel, mel_err=mel_err)
        assert not mel_err, "no case changes audio whose reconstruction error is not known"
        if change.moved:
            assert self.joined is not None, "moved audio is cut from the clip"
            samples = self.joined.read(source, change.moved)
        else:
            samples = self.store.read(source, waveform=True, mel=False).waveform
        if change.reverse:
            samples = np.ascontiguousarray(samples[::-1])
        return Element(None, samples if waveform else None, mel_of(samples) if mel else None)

    def _frames(self, key: str, change: Change, wanted: Sequence[int]) -> np.ndarray:
        source = change.frames or key
        frames: np.ndarray = self.store.read(source, mel=False, frames=_moments(key, change, wanted)).frames
        return frames

    def _landmarks(self, key: str, change: Change) -> np.ndarray:
        landmarks: np.ndarray = self.store.read(change.frames or key, mel=False, landmarks=True).landmarks
        return landmarks[_moments(key, change, range(FRAMES))]


def _moments(key: str, change: Change, wanted: Sequence[int]) -> list[int]:
    """Return the moments of a window that are shown at those of the wanted ones that it has."""
    present = [moment for moment in wanted if moment < FRAMES]
    if change.order == "still":
        return [present[0]] * len(present)
    if change.order == "shuffled":
        order = generator_of(f"shuffled\n{key}").permutation(FRAMES).tolist()
        return [order[moment] for moment in present]
    return present
