"""How well a detector holds when clips have been through what clips go through: noise, rooms, codecs, lost pieces.

sound  picture  timing   the perturbations, as pure functions on the arrays of an element
store                    a store whose elements are perturbed as they are read, for any run
suite                    scores and figures over perturbations and severities
"""

import difflib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from avdfd.core.errors import UserError
from avdfd.evaluation.robustness import picture, sound, timing

Function = Callable[[np.ndarray, float, Generator], np.ndarray]


class Perturbation(NamedTuple):
    """What happens to an element, at five levels, the mildest first."""

    title: str
    unit: str
    levels: tuple[float, float, float, float, float]
    sound: Function | None = None
    """Waveform (49152,) -> waveform."""
    picture: Function | None = None
    """Frames (T, 224, 224, 3) uint8 -> frames."""
    shown: Function | None = None
    """Waveform (49152,) -> numbers (77,) of the frames that are shown."""
    all_frames: bool = False
    """Whether `picture` needs all frames of a window, and not only those that are wanted."""


SEVERITIES = (1, 2, 3, 4, 5)

PERTURBATIONS: dict[str, Perturbation] = {
    "noise": Perturbation("Noise", "dB SNR", (30, 20, 10, 5, 0), sound.noise),
    "reverberation": Perturbation("Reverberation", "s RT60", (0.2, 0.4, 0.6, 0.9, 1.5), sound.reverberation),
    "resampling": Perturbation("Resampling", "Hz", (12_000, 10_000, 8_000, 6_000, 4_000), sound.resampling),
    "mp3": Perturbation("MP3", "kbit/s", (64, 48, 32, 24, 16), sound.mp3),
    "aac": Perturbation("AAC", "kbit/s", (64, 48, 32, 24, 16), sound.aac),
    "opus": Perturbation("Opus", "kbit/s", (32, 24, 16, 12, 6), sound.opus),
    "pitch": Perturbation("Higher pitch", "semitones", (0.5, 1, 2, 3, 4), sound.pitch),
    "clipping": Perturbation("Clipping", "% of samples", (1, 5, 10, 20, 40), sound.clipping),
    "muted": Perturbation("Muted parts", "% of the sound", (10, 20, 40, 60, 80), sound.muted),
    "missing_sound": Perturbation("Missing sound", "% of the window", (20, 40, 60, 80, 100), sound.missing),
    "h264": Perturbation("H.264", "CRF", (23, 28, 33, 38, 43), picture=picture.h264, all_frames=True),
    "resize": Perturbation("Smaller picture", "pixels", (160, 112, 80, 56, 40), picture=picture.resize),
    "blur": Perturbation("Blur", "pixels", (1, 2, 3, 4, 6), picture=picture.blur),
    "video_noise": Perturbation("Noise in the picture", "grey levels", (5, 10, 20, 30, 50), picture=picture.noise),
    "frame_drop": Perturbation("Lost frames", "% of frames", (10, 20, 40, 60, 80), shown=timing.drop_frames),
    "brightness": Perturbation("Darker picture", "gain", (0.8, 0.6, 0.4, 0.25, 0.1), picture=picture.brightness),
    "jpeg": Perturbation("JPEG", "quality", (70, 50, 30, 15, 5), picture=picture.jpeg),
    "missing_picture": Perturbation(
        "Missing picture", "% of the window", (20, 40, 60, 80, 100), picture=picture.missing, all_frames=True
    ),
    "sound_late": Perturbation("Late sound", "ms", (40, 80, 160, 240, 400), sound.late),
    "sound_early": Perturbation("Early sound", "ms", (40, 80, 160, 240, 400), sound.early),
    "speed": Perturbation(
        "Slower", "of the speed", (0.95, 0.9, 0.8, 0.7, 0.6), timing.slow_sound, shown=timing.slow_frames
    ),
    "trim": Perturbation(
        "Trimmed edge silence", "s at most", (0.1, 0.2, 0.4, 0.8, 1.5), timing.trim_sound, shown=timing.trim_frames
    ),
}
"""By name, in the order of the report."""


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The named perturbations, each once, in the order of the report; all of them if none is named.

    Raises UserError, with the nearest name, for one that there is not.
    """
    for name in names:
        if name not in PERTURBATIONS:
            near = difflib.get_close_matches(name, PERTURBATIONS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(PERTURBATIONS)}"
            raise UserError(f"--robustness: no perturbation is called '{name}'; {hint}")
    return tuple(name for name in PERTURBATIONS if name in names or not names)
