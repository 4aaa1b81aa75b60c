"""What may happen to time: which of the 77 frames is shown when, and the sound that goes with them.

Functions with `_frames` are (waveform, level, rng) -> numbers (77,), those with `_sound` (waveform, level, rng) ->
waveform. Both of a name follow one mapping of time, so that sound and picture stay together.
"""

import numpy as np
import soxr
from numpy.random import Generator

from avdfd.evaluation.robustness.sound import seamless
from avdfd.features.acoustics import edge_silence
from avdfd.features.mel import FPS, FRAMES, SAMPLE_RATE


def drop_frames(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """`percent` of the frames are lost, and the last one that was not is shown in their place; the first stays.

    More of them include fewer of them.
    """
    lost = 1 + rng.permutation(FRAMES - 1)[: round((FRAMES - 1) * percent / 100)]
    there = np.isin(np.arange(FRAMES), lost, invert=True)
    return np.maximum.accumulate(np.where(there, np.arange(FRAMES), 0))


def slow_frames(waveform: np.ndarray, factor: float, rng: Generator) -> np.ndarray:
    """`factor` of the window, from its middle, takes the time of all of it."""
    start = (1 - factor) / 2 * len(waveform) / SAMPLE_RATE
    return _nearest(start + np.arange(FRAMES) / FPS * factor)


def slow_sound(waveform: np.ndarray, factor: float, rng: Generator) -> np.ndarray:
    """As `slow_frames`; like a tape, so that the pitch falls too. To be faster would need more than a window has."""
    count = round(len(waveform) * factor)
    start = round((1 - factor) / 2 * len(waveform))
    slow = soxr.resample(waveform[start : start + count + 64], SAMPLE_RATE * factor, SAMPLE_RATE, "VHQ")
    return slow[: len(waveform)].astype(np.float32)


def trim_frames(waveform: np.ndarray, longest: float, rng: Generator) -> np.ndarray:
    """Without the silence at the edges of the window, of which `longest` seconds go at most at either edge.

    What is left is repeated from its start, sound and picture together, until the window is full: it ends without
    silence that was not there, and without a sound that is of somewhere else.
    """
    first, last = _loud(waveform, longest)
    times = np.arange(FRAMES) / FPS
    return _nearest((first + np.mod(times * SAMPLE_RATE, last - first)) / SAMPLE_RATE)


def trim_sound(waveform: np.ndarray, longest: float, rng: Generator) -> np.ndarray:
    """As `trim_frames`; the seam is blended over 5 ms."""
    first, last = _loud(waveform, longest)
    trimmed = loop = waveform[first:last]
    while len(trimmed) < len(waveform):
        trimmed = seamless(trimmed, loop)
    return trimmed[: len(waveform)]


def _loud(waveform: np.ndarray, longest: float) -> tuple[int, int]:
    """Samples from and to which a window stays; all of it if it is silent throughout."""
    lead, trail = edge_silence(waveform, SAMPLE_RATE)
    if lead + trail > 0.9 * len(waveform) / SAMPLE_RATE:
        return 0, len(waveform)
    lead, trail = (round(min(edge, longest) * SAMPLE_RATE) for edge in (lead, trail))
    return lead, len(waveform) - trail


def _nearest(times: np.ndarray) -> np.ndarray:
    """Numbers of the frames that are shown at these seconds of the window."""
    return np.clip(np.rint(times * FPS), 0, FRAMES - 1).astype(np.int64)
