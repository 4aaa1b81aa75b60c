"""Distortions of a waveform (S,) float32 at 16 kHz. All but `speed` keep its length, and so its alignment with a video.

References:
    Polack, "La transmission de l'énergie sonore dans les salles", 1988 (the statistical model of a room).
    Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015 (speed).
"""

import numpy as np
import soxr
from numpy.random import Generator

from avdfd.features.window import SAMPLE_RATE

_PRE_DELAY = 0.0025  # seconds from the direct sound to the first reflections
_TAIL = 0.03  # RMS of the first reflections; together they are as loud as the direct sound at an RT60 of 0.96 s


def noise(waveform: np.ndarray, snr: float, rng: Generator) -> np.ndarray:
    """Add white noise `snr` dB below the mean power of the waveform. Silence stays silent."""
    added = rng.standard_normal(len(waveform)).astype(np.float32)
    return waveform + added * np.float32(rms(waveform) / rms(added) * 10 ** (-snr / 20))


def reverberation(waveform: np.ndarray, rt60: float, rng: Generator) -> np.ndarray:
    """Add the reverberation of a room with this RT60 in seconds, without delay and at the same RMS.

    The reflections are exponentially decaying noise of the same initial level in every room: the longer they last, the
    louder they are relative to the direct sound.
    """
    from scipy.signal import oaconvolve  # here, as it takes 0.7 s and few runs need it

    return match_rms(oaconvolve(waveform, room(rt60, rng))[: len(waveform)], waveform)


def room(rt60: float, rng: Generator) -> np.ndarray:
    """Return the impulse response (R,) of a room, 1.2 times as long as `rt60` seconds."""
    count, first = round(1.2 * rt60 * SAMPLE_RATE), round(_PRE_DELAY * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(count) / (rt60 * SAMPLE_RATE))
    response = _TAIL * rng.standard_normal(count) * decay
    response[:first] = 0
    response[0] = 1
    return response


def resampling(waveform: np.ndarray, rate: float, rng: Generator | None = None) -> np.ndarray:
    """Resample to `rate` Hz and back, which removes all above `rate` / 2. There is nothing to draw."""
    low = soxr.resample(waveform, SAMPLE_RATE, rate, "VHQ")
    return fit_length(soxr.resample(low, rate, SAMPLE_RATE, "VHQ"), len(waveform))


def speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play faster by this factor, with a higher pitch: (S,) -> (S / factor,)."""
    return soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE, "VHQ").astype(np.float32)


def fit_length(waveform: np.ndarray, count: int) -> np.ndarray:
    """Remove or add the few samples that rounding of rates leaves too many or too few."""
    return np.pad(waveform[:count], (0, max(count - len(waveform), 0)), mode="edge").astype(np.float32)


def match_rms(waveform: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return the waveform at the RMS of another."""
    level = rms(waveform)
    return (waveform * (rms(model) / level if level else 0.0)).astype(np.float32)


def rms(waveform: np.ndarray) -> float:
    """Return the root mean square of a waveform."""
    return float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))
