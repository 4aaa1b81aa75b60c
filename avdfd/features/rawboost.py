"""RawBoost: distortions of a telephone or recording channel, without recordings of noise.

S samples at 16 kHz   K coefficients of a filter

References:
    Tak et al., "RawBoost: A Raw Data Boosting and Augmentation Method Applied to Automatic Speaker Verification
    Anti-Spoofing", ICASSP 2022.
"""

import numpy as np
from numpy.random import Generator

from avdfd.features.window import SAMPLE_RATE

_ORDER = 5  # powers of the waveform
_NOTCHES = 5  # of a filter
_CENTRE, _WIDTH = (20.0, 8000.0), (100.0, 1000.0)  # Hz, of a notch
_TAPS = (10, 100)  # coefficients of a notch
_QUIETER = (5.0, 20.0)  # dB, of the powers above the first


def convolutive(waveform: np.ndarray, rng: Generator) -> np.ndarray:
    """Linear and non-linear convolutive noise: add filtered powers 1 to 5 of the waveform, those above 1 quieter.

    The mean is removed, and what is beyond full scale is scaled down to it.
    """
    filters = [notch_filter(0.0, rng)]
    filters += [notch_filter(-rng.uniform(*_QUIETER), rng) for _ in range(_ORDER - 1)]
    total = sum(filtered(waveform.astype(np.float64) ** (i + 1), taps) for i, taps in enumerate(filters))
    return within_full_scale(total - np.mean(total))


def impulsive(waveform: np.ndarray, percent: float, gain: float, rng: Generator) -> np.ndarray:
    """Impulsive noise that depends on the signal: change up to `percent` of the samples by up to `gain` times each.

    The share is uniform from 0 to `percent`, the change of a sample the product of two uniform numbers and `gain`.
    """
    count = int(len(waveform) * rng.uniform(0, percent) / 100)
    places = rng.permutation(len(waveform))[:count]
    changed = waveform.astype(np.float64)
    changed[places] *= 1 + gain * rng.uniform(-1, 1, count) * rng.uniform(-1, 1, count)
    return within_full_scale(changed)


def stationary(waveform: np.ndarray, snr: float, rng: Generator) -> np.ndarray:
    """Stationary noise that does not depend on the signal: add noise through a notch filter, `snr` dB below it."""
    added = filtered(rng.standard_normal(len(waveform)), notch_filter(0.0, rng))
    level = np.linalg.norm(waveform.astype(np.float64)) / np.linalg.norm(added) * 10 ** (-snr / 20)
    return (waveform + level * added).astype(np.float32)


def notch_filter(gain: float, rng: Generator) -> np.ndarray:
    """Draw a filter (K,) with five notches whose largest gain is `gain` dB."""
    from scipy.signal import firwin, freqz  # here, as it takes 0.7 s and few runs need it

    taps = np.ones(1)
    for _ in range(_NOTCHES):
        centre, width = rng.uniform(*_CENTRE), rng.uniform(*_WIDTH)
        count = int(rng.integers(*_TAPS)) // 2 * 2 + 1  # a notch needs an odd number
        low, high = max(centre - width / 2, 1e-3), min(centre + width / 2, SAMPLE_RATE / 2 - 1e-3)
        taps = np.convolve(firwin(count, [low, high], window="hamming", fs=SAMPLE_RATE), taps)
    _, response = freqz(taps, fs=SAMPLE_RATE)
    return 10 ** (gain / 20) * taps / np.abs(response).max()


def filtered(waveform: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter a waveform (S,), without delay: (S,)."""
    from scipy.signal import oaconvolve

    return oaconvolve(waveform, taps, mode="full")[len(taps) // 2 :][: len(waveform)]


def within_full_scale(waveform: np.ndarray) -> np.ndarray:
    """Scale a waveform down to full scale if it is beyond."""
    return (waveform / max(np.abs(waveform).max(), 1.0)).astype(np.float32)
