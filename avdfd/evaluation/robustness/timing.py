"""Perturbations of time: which of the frames is shown when, and the matching audio.

Functions named `_frames` are (waveform, level, rng) -> indices (T,), 77 for a window; those named `_audio` (waveform,
level, rng) -> waveform. Both functions of a pair map time in the same way, so that audio and video stay in sync.
"""

import numpy as np
import soxr
from numpy.random import Generator

from avdfd.evaluation.robustness.audio import seamless
from avdfd.features.acoustics import edge_silence
from avdfd.features.window import FPS, SAMPLE_RATE, frames_of


def drop_frames(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Drop `percent` of the frames and repeat the last kept one in their place; the first frame is always kept.

    Frames dropped at a lower level are dropped at every higher one.
    """
    count = _count(waveform)
    lost = 1 + rng.permutation(count - 1)[: round((count - 1) * percent / 100)]
    there = np.isin(np.arange(count), lost, invert=True)
    return np.maximum.accumulate(np.where(there, np.arange(count), 0))


def slow_frames(waveform: np.ndarray, factor: float, rng: Generator) -> np.ndarray:
    """Stretch the middle `factor` of the window to its whole length."""
    start = (1 - factor) / 2 * len(waveform) / SAMPLE_RATE
    return _nearest(start + np.arange(_count(waveform)) / FPS * factor)


def slow_audio(waveform: np.ndarray, factor: float, rng: Generator) -> np.ndarray:
    """Stretch the audio like `slow_frames`, by resampling, so that the pitch falls too.

    Speeding up is not possible, as it needs more audio than a window has.
    """
    count = round(len(waveform) * factor)
    start = round((1 - factor) / 2 * len(waveform))
    slow = soxr.resample(waveform[start : start + count + 64], SAMPLE_RATE * factor, SAMPLE_RATE, "VHQ")
    return slow[: len(waveform)].astype(np.float32)


def trim_frames(waveform: np.ndarray, longest: float, rng: Generator) -> np.ndarray:
    """Remove the silence at the edges of the window, at most `longest` seconds at either edge.

    The rest is repeated from its start, audio and video together, until the window is full. This adds neither silence
    nor foreign audio.
    """
    first, last = _loud(waveform, longest)
    times = np.arange(_count(waveform)) / FPS
    return _nearest((first + np.mod(times * SAMPLE_RATE, last - first)) / SAMPLE_RATE)


def trim_audio(waveform: np.ndarray, longest: float, rng: Generator) -> np.ndarray:
    """Trim the audio like `trim_frames`, with a crossfade of 5 ms at the seam."""
    first, last = _loud(waveform, longest)
    trimmed = loop = waveform[first:last]
    while len(trimmed) < len(waveform):
        trimmed = seamless(trimmed, loop)
    return trimmed[: len(waveform)]


def _loud(waveform: np.ndarray, longest: float) -> tuple[int, int]:
    """Return the range of samples to keep; the whole window if all of it is silent."""
    lead, trail = edge_silence(waveform, SAMPLE_RATE)
    if lead + trail > 0.9 * len(waveform) / SAMPLE_RATE:
        return 0, len(waveform)
    lead, trail = (round(min(edge, longest) * SAMPLE_RATE) for edge in (lead, trail))
    return lead, len(waveform) - trail


def _nearest(times: np.ndarray) -> np.ndarray:
    """Return the indices (T,) of the frames that are shown at these seconds of the window."""
    return np.clip(np.rint(times * FPS), 0, len(times) - 1).astype(np.int64)


def _count(waveform: np.ndarray) -> int:
    """Return the number of frames beside this audio."""
    return frames_of(len(waveform) / SAMPLE_RATE)
