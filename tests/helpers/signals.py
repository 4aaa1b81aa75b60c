"""Made-up audio and measures of it."""

import numpy as np

from avdfd.features.window import SAMPLE_RATE, WINDOW


def speech_like() -> np.ndarray:
    """Coloured noise in syllables, which fills the band: (49152,) float32."""
    draw = np.random.default_rng(0).standard_normal(WINDOW)
    coloured = draw + np.convolve(draw, np.ones(24) / 4, mode="same")
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(WINDOW) / SAMPLE_RATE)
    return (0.05 * coloured * syllables).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    """Mean square of a waveform."""
    return float(np.square(waveform, dtype=np.float64).mean())


def lag(moved: np.ndarray, original: np.ndarray) -> int:
    """Return the delay of a waveform in samples, by circular cross-correlation."""
    spectrum = np.fft.rfft(moved) * np.conj(np.fft.rfft(original))
    peak = int(np.argmax(np.fft.irfft(spectrum, len(moved))))
    return peak - len(moved) if peak > len(moved) // 2 else peak
