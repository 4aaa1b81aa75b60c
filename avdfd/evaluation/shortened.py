"""An element store that cuts its windows short when they are read, and fills them again, as is done to short clips."""

from collections.abc import Sequence
from dataclasses import replace

from avdfd.core.seeding import generator_of
from avdfd.elements import Element, ElementStore
from avdfd.elements.derived import DerivedStore
from avdfd.elements.form import mel_of, repeated
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, WINDOW

_SHORTEST = FPS  # frames; shorter clips are refused


class ShortenedStore(DerivedStore[ElementStore]):
    """The windows of a store as if their clips had ended after 1 to 3 s, a length that is drawn for each window.

    The store has waveforms and no whole clips.
    """

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
        """Read an element as `ElementStore.read` does; mel_err is that of the whole window."""
        count = int(generator_of(f"short\n{key}").integers(_SHORTEST, FRAMES))
        shown = None if frames is None else [number % count for number in frames if number < FRAMES]
        read = None if shown is None else sorted(set(shown))
        element = self.store.read(key, waveform=True, mel=False, mel_err=mel_err, frames=read, landmarks=landmarks)
        audio = repeated(element.waveform[: count * SAMPLE_RATE // FPS], WINDOW)
        if shown is not None and read is not None:
            element = replace(element, frames=element.frames[[read.index(number) for number in shown]])
        if landmarks:
            element = replace(element, landmarks=repeated(element.landmarks[:count], FRAMES))
        return replace(element, waveform=audio if waveform else None, mel=mel_of(audio) if mel else None)
