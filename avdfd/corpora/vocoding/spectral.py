"""Re-synthesis of speech from its spectrogram, which loses phase, fine structure or resolution.

Samples are (S,) float32 at 16 kHz, spectra (F, T) complex with F = n_fft // 2 + 1 and a hop of n_fft / 4. All is
computed on the CPU, with the given generator: the same state gives the same audio.
"""

import functools

import numpy as np
import soxr
import torch
from numpy.random import Generator
from torch import Tensor

from avdfd.corpora.vocoding.bands import mel_bands

RATE = 16_000
_MOMENTUM = 0.99
_FLOOR = 1e-10


def analyse(samples: np.ndarray, n_fft: int) -> Tensor:
    """Samples (S,) -> spectrum (F, T); S must be above n_fft // 2."""
    return torch.stft(torch.from_numpy(samples), n_fft, n_fft // 4, window=_hann(n_fft), return_complex=True)


def synthesise(spectrum: Tensor, samples: int) -> np.ndarray:
    """Spectrum (F, T) -> samples, by overlap-add."""
    n_fft = 2 * (len(spectrum) - 1)
    return torch.istft(spectrum, n_fft, n_fft // 4, window=_hann(n_fft), length=samples).numpy()


def griffin_lim(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Original magnitudes with an estimated phase.

    References: Griffin and Lim, IEEE Trans. ASSP 1984; the momentum: Perraudin et al., WASPAA 2013.
    """
    n_fft = int(rng.choice([512, 1024, 2048]))
    return _find_phase(analyse(samples, n_fft).abs(), len(samples), int(rng.integers(8, 33)), rng)


def mel_griffin_lim(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Like `griffin_lim`, with the magnitudes reduced to 40, 80 or 128 mel bands."""
    n_fft = int(rng.choice([512, 1024]))
    magnitude = _through_mel(analyse(samples, n_fft), int(rng.choice([40, 80, 128])))
    return _find_phase(magnitude, len(samples), int(rng.integers(8, 33)), rng)


def mel_phase(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Magnitudes reduced to mel bands, with the original phase plus noise of 0.2 to 1.2 rad (standard deviation)."""
    spectrum = analyse(samples, int(rng.choice([512, 1024])))
    magnitude = _through_mel(spectrum, int(rng.choice([64, 80, 100, 128])))
    error = rng.uniform(0.2, 1.2) * torch.from_numpy(rng.standard_normal(spectrum.shape, np.float32))
    return synthesise(torch.polar(magnitude, spectrum.angle() + error), len(samples))


def quantised(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Log mel spectrum after a residual vector quantiser, as in neural codecs; the phase is kept.

    Each stage quantises the residual of the previous one with a codebook of 16 of its own frames, drawn at random; the
    codebooks of later stages are scaled by 0.7. References: Zeghidour et al., "SoundStream", 2021.
    """
    spectrum = analyse(samples, int(rng.choice([256, 512, 1024])))
    bands = mel_bands(80, len(spectrum))
    power = bands @ spectrum.abs().square()
    log_power = (power + _FLOOR).log().T
    rest = log_power - log_power.mean(0)
    for stage in range(int(rng.integers(2, 7))):
        book = rest[torch.from_numpy(rng.permutation(len(rest))[:16])] * (1 if stage == 0 else 0.7)
        rest = rest - book[torch.cdist(rest, book).argmin(1)]
    gain = _spread((-rest.T / 2).exp(), bands)  # the residual is removed from the signal
    return synthesise(spectrum * gain.clamp(0.05, 20), len(samples))


def shifted(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Pitch and formants shifted by 0.5 to 3 semitones: a phase vocoder stretches, resampling restores the length.

    References: Flanagan and Golden, Bell Syst. Tech. J. 1966; Laroche and Dolson, IEEE Trans. SAP 1999.
    """
    factor = float(2 ** (rng.choice([-1, 1]) * rng.uniform(0.5, 3) / 12))
    spectrum = analyse(samples, 1024)
    places = torch.arange(0, spectrum.shape[1] - 1, 1 / factor)
    left, share = places.long(), places.frac()
    magnitude = spectrum.abs()
    magnitude = (1 - share) * magnitude[:, left] + share * magnitude[:, left + 1]
    advance = torch.arange(len(spectrum))[:, None] * (torch.pi / 2)  # phase advance of each bin's centre per frame
    turn = spectrum[:, 1:].angle() - spectrum[:, :-1].angle() - advance
    turn = advance + turn - 2 * torch.pi * (turn / (2 * torch.pi)).round()
    phase = torch.cat([spectrum[:, :1].angle(), turn[:, left[:-1]]], 1).double().cumsum(1).float()
    stretched = synthesise(torch.polar(magnitude, phase), round(len(samples) * factor))
    return fit(soxr.resample(stretched, factor * RATE, RATE, "HQ"), len(samples))


def mosaic(original: np.ndarray, made: np.ndarray, rng: Generator) -> np.ndarray:
    """Combine patches in time and frequency from the original and its fake, with soft seams."""
    spectra = [analyse(samples, 512) for samples in (original, made)]
    shape = spectra[0].shape
    grid = torch.from_numpy((rng.random((int(rng.integers(2, 6)), int(rng.integers(4, 12)))) < 0.5).astype(np.float32))
    share = torch.nn.functional.interpolate(grid[None, None], shape, mode="bilinear")[0, 0]
    share = (4 * (share - 0.5) + 0.5).clamp(0, 1)
    return synthesise((1 - share) * spectra[0] + share * spectra[1], len(original))


def fit(samples: np.ndarray, count: int) -> np.ndarray:
    """Cut samples, or pad them with zeros, to (count,) float32."""
    return np.pad(samples, (0, max(count - len(samples), 0)))[:count].astype(np.float32)


def _find_phase(magnitude: Tensor, samples: int, iterations: int, rng: Generator) -> np.ndarray:
    phase = torch.from_numpy(rng.uniform(-np.pi, np.pi, magnitude.shape).astype(np.float32))
    spectrum, last = torch.polar(magnitude, phase), torch.zeros_like(magnitude, dtype=torch.complex64)
    n_fft = 2 * (len(magnitude) - 1)
    for _ in range(iterations):
        found = analyse(synthesise(spectrum, samples), n_fft)
        spectrum = torch.polar(magnitude, (found + _MOMENTUM * (found - last)).angle())
        last = found
    return synthesise(spectrum, samples)


def _through_mel(spectrum: Tensor, count: int) -> Tensor:
    """Return magnitudes (F, T) at the resolution of mel bands."""
    bands = mel_bands(count, len(spectrum))
    return _spread(bands @ spectrum.abs().square(), bands).clamp_min(0).sqrt()


def _spread(values: Tensor, bands: Tensor) -> Tensor:
    """Values of bands (N, T) -> values of bins (F, T), each the mean over the bands of the bin."""
    return bands.T @ values / bands.sum(0)[:, None]


@functools.cache
def _hann(n_fft: int) -> Tensor:
    return torch.hann_window(n_fft)
