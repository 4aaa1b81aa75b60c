"""Properties of audio that are independent of its content and can give fakes away: loudness, edge silence, bandwidth.

Audio is mono, (S,).
"""

import numpy as np

PIECES = 100
"""Pieces per second; each is loud or silent."""
SILENT_DB = 30.0
"""A piece is silent if its level is this far below that of the loudest one."""
SILENCE = 10 ** (-70 / 20)
"""Root mean square below which audio as a whole is silent: -70 dBFS."""
SPECTRAL_BAND = 250.0
"""Hz; the resolution of `spectral_edge`."""
# A band is empty if it is this far below the loudest one: about the noise floor of a good recording.
_EMPTY_DB = 40.0
# Hz below which hum may be louder than the speech.
_HUM = 100.0


def loudness(samples: np.ndarray) -> float:
    """Root mean square level in dB relative to full scale; -180 for digital silence."""
    return float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9))


def loud_pieces(samples: np.ndarray, rate: int, silent_db: float = SILENT_DB) -> np.ndarray:
    """Return (P,) bool: True for each piece of 10 ms that is less than `silent_db` below the loudest one.

    The first piece begins at the first sample; samples after the last whole piece are ignored.
    """
    step = max(1, rate // PIECES)
    pieces = samples[: len(samples) // step * step].reshape(-1, step)
    level = np.sqrt(np.square(pieces).mean(axis=1))
    return level > level.max(initial=0.0) * 10 ** (-silent_db / 20)


def edge_silence(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Return the seconds of leading and trailing silence; the whole duration and 0 if no piece is loud."""
    loud, step = loud_pieces(samples, rate), max(1, rate // PIECES)
    found = np.flatnonzero(loud)
    if not len(found):
        return len(loud) * step / rate, 0.0
    return float(found[0] * step / rate), float((len(loud) - 1 - found[-1]) * step / rate)


def spectral_edge(samples: np.ndarray, rate: int) -> float:
    """Bandwidth in Hz: the upper end of the highest 250 Hz band whose mean power is less than 40 dB below that of the
    loudest band. 0 for digital silence.

    It is half the sample rate for audio that fills its band, and lower after a codec or synthesiser that drops high
    frequencies, or after resampling from a lower rate.
    """
    from scipy.signal import welch  # here, as it takes 0.7 s and few scripts call this

    size = min(len(samples), rate // 10)
    frequency, power = welch(samples, rate, nperseg=size) if size else (np.zeros(1), np.zeros(1))
    power[frequency < _HUM] = 0
    band = (frequency / SPECTRAL_BAND).astype(int)
    level = np.bincount(band, power) / np.bincount(band)
    found = np.flatnonzero(level > level.max() * 10 ** (-_EMPTY_DB / 10))
    return float(min((found[-1] + 1) * SPECTRAL_BAND, rate / 2)) if len(found) else 0.0
