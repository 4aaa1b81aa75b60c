"""An element store that replaces the audio or the frames of its elements when they are read."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from avdfd.core.seeding import generator_of
from avdfd.elements import Element, ElementMeta
from avdfd.elements.derived import DerivedStore
from avdfd.elements.form import mel_of
from avdfd.elements.protocol import Store
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, frames_of

_STEP = SAMPLE_RATE // FPS


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
    span: tuple[int, int] | None = None
    """First frame and number of frames of the stretch of a whole clip that is taken, with its audio; None for all."""


class ChangedStore(DerivedStore[Store]):
    """The elements of a store with a change each; those without one cannot be read.

    Changed audio has the samples of stored audio, and the mel is computed from it. An element is the same whenever it
    is read. The store can be used in worker processes.
    """

    def __init__(self, store: Store, changes: Mapping[str, Change], joined: JoinedAudio | None = None) -> None:
        super().__init__(store)
        self.changes, self.joined = changes, joined

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
        """Read an element as the store does."""
        change = self.changes[key]
        audio = self._audio(key, change, waveform, mel, mel_err)
        meta = self.store.read(key, mel=False).meta
        assert meta is not None, "a store knows its elements"
        count = self._moments(meta, change)
        return Element(
            meta,
            audio.waveform,
            audio.mel,
            audio.mel_err,
            None if frames is None else self._frames(key, change, frames, count),
            self._landmarks(key, change, count) if landmarks else None,
        )

    def _moments(self, meta: ElementMeta, change: Change) -> int:
        """Return the number of frames of an element."""
        if change.span is not None:
            return change.span[1]
        return frames_of(meta.end - meta.start) if self.whole else FRAMES

    def _audio(self, key: str, change: Change, waveform: bool, mel: bool, mel_err: bool) -> Element:
        source = change.audio or key
        if not change.moved and not change.reverse and change.span is None:
            return self.store.read(source, waveform=waveform, mel=mel, mel_err=mel_err)
        assert not mel_err, "no case changes audio whose reconstruction error is not known"
        if change.moved and change.span is None:
            assert self.joined is not None, "moved audio is cut from the clip"
            samples = self.joined.read(source, change.moved)
        else:
            samples = self.store.read(source, waveform=True, mel=False).waveform
        if change.span is not None:
            first, count = (_STEP * frames for frames in change.span)
            assert 0 <= first + change.moved <= len(samples) - count, "the stretch is in the clip"
            samples = samples[first + change.moved :][:count]
        if change.reverse:
            samples = np.ascontiguousarray(samples[::-1])
        return Element(None, samples if waveform else None, mel_of(samples) if mel else None)

    def _frames(self, key: str, change: Change, wanted: Sequence[int], count: int) -> np.ndarray:
        shown = _shown(key, change, wanted, count)
        frames: np.ndarray = self.store.read(change.frames or key, mel=False, frames=shown).frames
        return frames

    def _landmarks(self, key: str, change: Change, count: int) -> np.ndarray:
        landmarks: np.ndarray = self.store.read(change.frames or key, mel=False, landmarks=True).landmarks
        return landmarks[_shown(key, change, range(count), count)]


def _shown(key: str, change: Change, wanted: Sequence[int], count: int) -> list[int]:
    """Return the moments that are shown at those of the wanted ones that an element of `count` has."""
    present = [moment for moment in wanted if moment < count]
    if change.order == "still":
        return [present[0]] * len(present)
    if change.order == "shuffled":
        order = generator_of(f"shuffled\n{key}").permutation(count).tolist()
        return [order[moment] for moment in present]
    first = 0 if change.span is None else change.span[0]
    return [first + moment for moment in present]
