"""Sizes of a window: its audio, mel spectrogram and face frames. Needs no torch, as do scripts without models."""

import math

SAMPLE_RATE = 16_000
WINDOW = 49_152
"""Samples of a window, 3.072 s."""
SECONDS = WINDOW / SAMPLE_RATE
MEL_BINS = 128
MEL_FRAMES = 768
FPS = 25
FRAMES = 77
"""Face frames of a window, at k / 25 s for k = 0, ..., 76."""
FACE_SIZE = 224
_ROUNDING = 1e-3  # of a frame


def samples_of(seconds: float) -> int:
    """Return the number of samples in a span of time."""
    return round(seconds * SAMPLE_RATE)


def frames_of(seconds: float) -> int:
    """Return the number of frames, at k / 25 s, in a span of time."""
    return math.ceil(seconds * FPS - _ROUNDING)


def is_short(start: float, end: float) -> bool:
    """Return whether an element is shorter than a window; its times are in seconds."""
    return samples_of(end - start) < WINDOW
