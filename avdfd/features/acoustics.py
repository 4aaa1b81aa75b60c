"""What of a sound has nothing to do with what is said, and gives fakes away: loudness, edge silence, spectral edge.

Sounds are (S,), mono.
"""

import numpy as np
from scipy.signal import welch

PIECES = 100
"""Pieces per second that are loud or silent."""
SILENT_DB = 30.0
"""A piece is silent if it is this far below the loudest one."""
SPECTRAL_BAND = 250.0
"""Hz; the resolution of `spectral_edge`."""
# A band is empty if it is this far below the loudest one: about where the noise of a good recording is.
_EMPTY_DB = 40.0
# Hz below which hum may be louder than the sound.
_HUM = 100.0


def loudness(samples: np.ndarray) -> float:
    """Root mean square of a sound, dB of full scale; -180 for silence."""
    return float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))


def loud_pieces(samples: np.ndarray, rate: int, silent_db: float = SILENT_DB) -> np.ndarray:
    """Which pieces of 10 ms of a sound are less than `silent_db` below the loudest one: (P,) bool.

    The pieces begin at the first sample; what is left after the last whole one is of none.
    """
    step = max(1, rate // PIECES)
    pieces = samples[: len(samples) // step * step].reshape(-1, step)
    level = np.sqrt(np.square(pieces).mean(axis=1))
    return level > level.max(initial=0.0) * 10 ** (-silent_db / 20)


def edge_silence(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Seconds of silence before and after a sound; all of it, and 0, if nothing in it is louder than the rest."""
    loud, step = loud_pieces(samples, rate), max(1, rate // PIECES)
    found = np.flatnonzero(loud)
    if not len(found):
        return len(loud) * step / rate, 0.0
    return float(found[0] * step / rate), float((len(loud) - 1 - found[-1]) * step / rate)


def spectral_edge(samples: np.ndarray, rate: int) -> float:
    """Hz up to which there is sound: the upper end of the highest of the bands of 250 Hz whose power, averaged over
    all of a sound, is less than 40 dB below that of the loudest band. 0 for silence.

    It is half the sample rate for sound that fills its band, and lower after a codec or a synthesiser that left the
    top away, or resampling from a lower rate.
    """
    size = min(len(samples), rate // 10)
    frequency, power = welch(samples, rate, nperseg=size) if size else (np.zeros(1), np.zeros(1))
    power[frequency < _HUM] = 0
    band = (frequency / SPECTRAL_BAND).astype(int)
    level = np.bincount(band, power) / np.bincount(band)
    found = np.flatnonzero(level > level.max() * 10 ** (-_EMPTY_DB / 10))
    return float(min((found[-1] + 1) * SPECTRAL_BAND, rate / 2)) if len(found) else 0.0
