"""Cloned voices by the WORLD vocoder: analysis, conversion to a reference voice, resynthesis.

Shapes: T frames of 5 ms, F = 513 frequencies, samples (S,) float64 at 16 kHz.

References: WORLD: Morise, Yokomori and Ozawa, IEICE Trans. Inf. Syst. 2016. Conversion by the mean and standard
deviation of log F0 and by the mean mel-cepstrum is the usual baseline of the voice conversion challenges (Toda et al.,
2016).
"""

from dataclasses import dataclass

import numpy as np
import pyworld
from scipy.ndimage import uniform_filter1d

RATE = 16_000  # as in avdfd.features.mel, whose import of torch is too slow: the corpus starts a process per identity
_FRAME_MS = 5.0
_RAMP = 800.0  # Hz: width of the transitions from harmonics to noise, and at the band limit


@dataclass(frozen=True)
class Analysis:
    """WORLD's parameters of a voice: F0 (T,), spectral envelope and aperiodicity (T, F)."""

    f0: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray


@dataclass(frozen=True)
class CloneSettings:
    """Coarseness of a clone: size of the mel-cepstrum, frames that it is smoothed over, reduction of F0's movement (0
    to 1), frequency (Hz) above which the voice is noise only, and the band limit (Hz) with the attenuation (dB) above
    it."""

    cepstrum: int
    smooth: int
    flatten: float
    voiced_to: float
    band: float
    missing: float


def analyse(samples: np.ndarray) -> Analysis:
    """Analyse a voice (S,)."""
    rough, times = pyworld.dio(samples, RATE, f0_floor=60.0, f0_ceil=420.0, frame_period=_FRAME_MS)
    f0 = pyworld.stonemask(samples, rough, times, RATE)
    envelope = pyworld.cheaptrick(samples, f0, times, RATE)
    return Analysis(f0, envelope, pyworld.d4c(samples, f0, times, RATE))


def median_f0(samples: np.ndarray) -> float:
    """Return the median F0 of a voice (S,) in Hz."""
    f0, _ = pyworld.dio(samples, RATE, f0_floor=60.0, f0_ceil=420.0, frame_period=_FRAME_MS)
    return float(np.median(f0[f0 > 0]))


def clone(source: Analysis, reference: Analysis, settings: CloneSettings, samples: int) -> np.ndarray:
    """Convert `source` to the voice of `reference`, in `samples` samples.

    The envelope passes a low-order mel-cepstrum, the aperiodicity one band and a maximum voiced frequency, as in
    parametric vocoders. The result has the typical artefacts of clones: a spectrum smoother than that of a real voice,
    noise in place of high harmonics, and a weak upper band.
    """
    f0 = _convert_f0(source.f0, reference.f0, settings.flatten)
    cepstrum, target = (
        pyworld.code_spectral_envelope(a.envelope, RATE, settings.cepstrum) for a in (source, reference)
    )
    cepstrum += target[reference.f0 > 0].mean(axis=0) - cepstrum[source.f0 > 0].mean(axis=0)
    cepstrum = uniform_filter1d(cepstrum, settings.smooth, axis=0, mode="nearest")
    fft_size = (source.envelope.shape[1] - 1) * 2
    envelope = pyworld.decode_spectral_envelope(cepstrum, RATE, fft_size)
    band = pyworld.code_aperiodicity(source.aperiodicity, RATE)
    aperiodicity = pyworld.decode_aperiodicity(band, RATE, fft_size)
    frequency = np.linspace(0, RATE / 2, aperiodicity.shape[1])
    envelope *= 10 ** (-settings.missing / 10 * np.clip((frequency - settings.band) / _RAMP, 0, 1))
    noise = np.clip((frequency - settings.voiced_to) / _RAMP, 1e-3, 1 - 1e-3)
    aperiodicity = np.maximum(aperiodicity, noise)
    voice = pyworld.synthesize(f0, envelope, aperiodicity, RATE, _FRAME_MS)
    return np.pad(voice, (0, max(0, samples - len(voice))))[:samples]


def _convert_f0(source: np.ndarray, reference: np.ndarray, flatten: float) -> np.ndarray:
    """Convert log F0 (T,) to the mean and standard deviation of the reference; unvoiced frames stay 0."""
    voiced = source > 0
    log_source, log_reference = np.log(source[voiced]), np.log(reference[reference > 0])
    scale = (1 - flatten) * log_reference.std() / max(float(log_source.std()), 1e-3)
    converted = np.zeros_like(source)
    converted[voiced] = np.exp((log_source - log_source.mean()) * np.clip(scale, 0.5, 2.0) + log_reference.mean())
    return converted
