"""An element store that perturbs its elements when they are read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from avdfd.core.errors import UserError
from avdfd.core.seeding import generator_of
from avdfd.elements import Element, ElementStore
from avdfd.elements.derived import DerivedStore
from avdfd.elements.form import mel_of, pcm, quantise
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.evaluation.robustness import PERTURBATIONS
from avdfd.features.window import FRAMES, frames_of


class PerturbedStore(DerivedStore[ElementStore]):
    """The elements of a store under one perturbation at one severity, 1 to 5.

    An element is the same whenever it is read, as random draws are seeded by its key; those for frames also depend on
    which frames are read. Audio is quantised to 16 bits like all stored audio, and the mel is computed from it. Moved
    audio is cut from `joined`, which has to cover the elements that are read. Landmarks are those of the frames that
    are shown; they are not looked for again in perturbed ones. The store can be used in worker processes.
    """

    def __init__(self, store: ElementStore, name: str, severity: int, joined: JoinedAudio | None = None) -> None:
        super().__init__(store)
        self.name, self.joined = name, joined
        self.level = PERTURBATIONS[name].levels[severity - 1]

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
        """Read an element as `ElementStore.read` does. Raises UserError for the mel_err of perturbed audio."""
        how = PERTURBATIONS[self.name]
        if mel_err and how.changes_audio:
            raise UserError(
                f"{self.root}: {self.name} changes the audio, for which mel_err is not known; "
                "choose perturbations of the video only"
            )
        needed = how.changes_audio and (waveform or mel)
        aligned = how.shown is not None and (frames is not None or landmarks)
        element = self.store.read(key, waveform=waveform or needed or aligned, mel=mel and not needed, mel_err=mel_err)
        audio, parts = element.waveform, dict[str, Any]()
        if frames is not None:
            parts["frames"] = self._frames(key, audio, frames)
        if landmarks:
            parts["landmarks"] = self._landmarks(key, audio)
        if needed:
            audio = self._audio(key, audio)
            parts["mel"] = mel_of(audio) if mel else None
        return replace(element, waveform=audio if waveform else None, **parts)

    def _audio(self, key: str, waveform: np.ndarray) -> np.ndarray:
        how = PERTURBATIONS[self.name]
        if how.moved:
            assert self.joined is not None, "moved audio is cut from the clip"
            waveform = self.joined.read(key, round(self.level * how.moved))
        if how.audio is not None:
            waveform = pcm(quantise(how.audio(waveform, self.level, self._draws(key))).view(np.uint8))
        return waveform

    def _frames(self, key: str, waveform: Any, wanted: Sequence[int]) -> np.ndarray:
        meta = self.store.metas[self.store.metas.find(key)]
        count = frames_of(meta.end - meta.start) if self.whole else FRAMES
        how, numbers = PERTURBATIONS[self.name], [number for number in wanted if number < count]
        if how.shown is not None:
            numbers = how.shown(waveform, self.level, self._draws(key))[numbers].tolist()
        read = range(count) if how.all_frames else numbers
        frames = self.store.read(key, mel=False, frames=read).frames
        if how.frames is not None:
            frames = how.frames(frames, self.level, self._draws(key))
        return frames[numbers] if how.all_frames else frames

    def _landmarks(self, key: str, waveform: Any) -> np.ndarray:
        how = PERTURBATIONS[self.name]
        landmarks: np.ndarray = self.store.read(key, mel=False, landmarks=True).landmarks
        if how.shown is not None:
            landmarks = landmarks[how.shown(waveform, self.level, self._draws(key))]
        return landmarks if how.landmarks is None else how.landmarks(landmarks, self.level, self._draws(key))

    def _draws(self, key: str) -> np.random.Generator:
        return generator_of(f"{self.name}\n{key}")
