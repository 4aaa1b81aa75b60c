"""Robustness of a detector to perturbed clips: noise, reverberation, codecs, dropouts, resizing, delays.

audio  frames  timing   the perturbations, as pure functions on the arrays of an element
store                   a store whose elements are perturbed when they are read, for any run
suite                   scores and metrics over perturbations and severities
"""

import difflib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from avdfd.core.errors import UserError
from avdfd.evaluation.robustness import audio, frames, timing
from avdfd.features import distortions
from avdfd.features.window import SAMPLE_RATE

Function = Callable[[np.ndarray, float, Generator], np.ndarray]


class Perturbation(NamedTuple):
    """A perturbation of an element, at five levels, the mildest first."""

    title: str
    unit: str
    levels: tuple[float, float, float, float, float]
    audio: Function | None = None
    """Waveform (49152,) -> waveform."""
    frames: Function | None = None
    """Frames (T, 224, 224, 3) uint8 -> frames."""
    shown: Function | None = None
    """Waveform (S,) -> indices (T,) of the frames that are shown, 77 for a window."""
    landmarks: Function | None = None
    """Landmarks (T, 71, 3) -> landmarks, if frames are lost. Those of frames that are only distorted are kept."""
    all_frames: bool = False
    """True if `frames` needs all frames of a window, not only the requested ones."""
    moved: int = 0
    """Samples by which the audio of a window is later in the clip than its frames, for each unit of the level."""

    @property
    def changes_audio(self) -> bool:
        return self.audio is not None or self.moved != 0


SEVERITIES = (1, 2, 3, 4, 5)
MILLISECOND = SAMPLE_RATE // 1000

PERTURBATIONS: dict[str, Perturbation] = {
    "noise": Perturbation("Noise", "dB SNR", (30, 20, 10, 5, 0), distortions.noise),
    "reverberation": Perturbation("Reverberation", "s RT60", (0.2, 0.4, 0.6, 0.9, 1.5), distortions.reverberation),
    "resampling": Perturbation("Resampling", "Hz", (12_000, 10_000, 8_000, 6_000, 4_000), distortions.resampling),
    "mp3": Perturbation("MP3", "kbit/s", (64, 48, 32, 24, 16), audio.mp3),
    "aac": Perturbation("AAC", "kbit/s", (64, 48, 32, 24, 16), audio.aac),
    "opus": Perturbation("Opus", "kbit/s", (32, 24, 16, 12, 6), audio.opus),
    "pitch": Perturbation("Higher pitch", "semitones", (0.5, 1, 2, 3, 4), audio.pitch),
    "clipping": Perturbation("Clipping", "% of samples", (1, 5, 10, 20, 40), audio.clipping),
    "muted": Perturbation("Muted segments", "% of the audio", (10, 20, 40, 60, 80), audio.muted),
    "missing_sound": Perturbation("Missing audio", "% of the window", (20, 40, 60, 80, 100), audio.missing),
    "h264": Perturbation("H.264", "CRF", (23, 28, 33, 38, 43), frames=frames.h264, all_frames=True),
    "resize": Perturbation("Lower resolution", "pixels", (160, 112, 80, 56, 40), frames=frames.resize),
    "blur": Perturbation("Blur", "pixels", (1, 2, 3, 4, 6), frames=frames.blur),
    "video_noise": Perturbation("Video noise", "grey levels", (5, 10, 20, 30, 50), frames=frames.noise),
    "frame_drop": Perturbation("Dropped frames", "% of frames", (10, 20, 40, 60, 80), shown=timing.drop_frames),
    "brightness": Perturbation("Darker video", "gain", (0.8, 0.6, 0.4, 0.25, 0.1), frames=frames.brightness),
    "jpeg": Perturbation("JPEG", "quality", (70, 50, 30, 15, 5), frames=frames.jpeg),
    "missing_picture": Perturbation(
        "Missing video",
        "% of the window",
        (20, 40, 60, 80, 100),
        frames=frames.missing,
        landmarks=frames.missing_landmarks,
        all_frames=True,
    ),
    "sound_late": Perturbation("Late audio", "ms", (40, 80, 160, 240, 400), moved=-MILLISECOND),
    "sound_early": Perturbation("Early audio", "ms", (40, 80, 160, 240, 400), moved=MILLISECOND),
    "speed": Perturbation(
        "Slower", "of the speed", (0.95, 0.9, 0.8, 0.7, 0.6), timing.slow_audio, shown=timing.slow_frames
    ),
    "trim": Perturbation(
        "Trimmed edge silence", "s at most", (0.1, 0.2, 0.4, 0.8, 1.5), timing.trim_audio, shown=timing.trim_frames
    ),
}
"""Perturbations by name, in the order of the report."""


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """Return the named perturbations, each once, in the order of the report; all of them if none is named.

    Raises UserError for an unknown name, with the nearest known one.
    """
    for name in names:
        if name not in PERTURBATIONS:
            near = difflib.get_close_matches(name, PERTURBATIONS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(PERTURBATIONS)}"
            raise UserError(f"--robustness: unknown perturbation '{name}'; {hint}")
    return tuple(name for name in PERTURBATIONS if name in names or not names)
