"""Speech made again from its spectrogram, with what such a way loses: phase, fine structure, resolution.

Samples are (S,) float32 at 16 kHz, spectra (F, T) complex with F = n_fft // 2 + 1 and four frames to an n_fft. All is
computed on the CPU, from the generator that is given: the same draw gives the same sound.
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
    """Spectrum (F, T) -> samples, by overlap and add."""
    n_fft = 2 * (len(spectrum) - 1)
    return torch.istft(spectrum, n_fft, n_fft // 4, window=_hann(n_fft), length=samples).numpy()


def griffin_lim(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """The magnitudes of a sound with a phase found for them.

    References: Griffin and Lim, IEEE Trans. ASSP 1984; the momentum: Perraudin et al., WASPAA 2013.
    """
    n_fft = int(rng.choice([512, 1024, 2048]))
    return _find_phase(analyse(samples, n_fft).abs(), len(samples), int(rng.integers(8, 33)), rng)


def mel_griffin_lim(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """As `griffin_lim`, from what is left of the magnitudes in 40, 80 or 128 mel bands."""
    n_fft = int(rng.choice([512, 1024]))
    magnitude = _through_mel(analyse(samples, n_fft), int(rng.choice([40, 80, 128])))
    return _find_phase(magnitude, len(samples), int(rng.integers(8, 33)), rng)


def mel_phase(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Magnitudes through mel bands with the phase of the sound itself, off by an angle of 0.2 to 1.2 rad."""
    spectrum = analyse(samples, int(rng.choice([512, 1024])))
    magnitude = _through_mel(spectrum, int(rng.choice([64, 80, 100, 128])))
    off = rng.uniform(0.2, 1.2) * torch.from_numpy(rng.standard_normal(spectrum.shape, np.float32))
    return synthesise(torch.polar(magnitude, spectrum.angle() + off), len(samples))


def quantised(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Log mel spectrum in a residual vector quantiser, as a neural codec's code is; the phase stays.

    Each stage rounds what the last one left to the nearest of 16 frames of the clip itself, drawn at random, at a
    smaller scale from stage to stage. References: Zeghidour et al., "SoundStream", 2021.
    """
    spectrum = analyse(samples, int(rng.choice([256, 512, 1024])))
    bands = mel_bands(80, len(spectrum))
    power = bands @ spectrum.abs().square()
    log_power = (power + _FLOOR).log().T
    rest = log_power - log_power.mean(0)
    for stage in range(int(rng.integers(2, 7))):
        book = rest[torch.from_numpy(rng.permutation(len(rest))[:16])] * (1 if stage == 0 else 0.7)
        rest = rest - book[torch.cdist(rest, book).argmin(1)]
    gain = _spread((-rest.T / 2).exp(), bands)  # what was lost is taken from the sound
    return synthesise(spectrum * gain.clamp(0.05, 20), len(samples))


def shifted(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """A voice raised or lowered by 0.5 to 3 semitones: stretched by a phase vocoder, then resampled to its length.

    References: Flanagan and Golden, Bell Syst. Tech. J. 1966; Laroche and Dolson, IEEE Trans. SAP 1999.
    """
    factor = float(2 ** (rng.choice([-1, 1]) * rng.uniform(0.5, 3) / 12))
    spectrum = analyse(samples, 1024)
    places = torch.arange(0, spectrum.shape[1] - 1, 1 / factor)
    left, share = places.long(), places.frac()
    magnitude = spectrum.abs()
    magnitude = (1 - share) * magnitude[:, left] + share * magnitude[:, left + 1]
    advance = torch.arange(len(spectrum))[:, None] * (torch.pi / 2)  # of each bin's centre from frame to frame
    turn = spectrum[:, 1:].angle() - spectrum[:, :-1].angle() - advance
    turn = advance + turn - 2 * torch.pi * (turn / (2 * torch.pi)).round()
    phase = torch.cat([spectrum[:, :1].angle(), turn[:, left[:-1]]], 1).double().cumsum(1).float()
    stretched = synthesise(torch.polar(magnitude, phase), round(len(samples) * factor))
    return fit(soxr.resample(stretched, factor * RATE, RATE, "HQ"), len(samples))


def mosaic(original: np.ndarray, made: np.ndarray, rng: Generator) -> np.ndarray:
    """Time and frequency cut into patches, each from the original or from what was made of it, with soft seams."""
    spectra = [analyse(sound, 512) for sound in (original, made)]
    shape = spectra[0].shape
    grid = torch.from_numpy((rng.random((int(rng.integers(2, 6)), int(rng.integers(4, 12)))) < 0.5).astype(np.float32))
    share = torch.nn.functional.interpolate(grid[None, None], shape, mode="bilinear")[0, 0]
    share = (4 * (share - 0.5) + 0.5).clamp(0, 1)
    return synthesise((1 - share) * spectra[0] + share * spectra[1], len(original))


def fit(samples: np.ndarray, count: int) -> np.ndarray:
    """Samples as (count,) float32: cut, or zeros at the end."""
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
    """What mel bands leave of the magnitudes (F, T)."""
    bands = mel_bands(count, len(spectrum))
    return _spread(bands @ spectrum.abs().square(), bands).clamp_min(0).sqrt()


def _spread(values: Tensor, bands: Tensor) -> Tensor:
    """Values of bands (N, T) -> of bins (F, T), each the mean of the bands that it is in."""
    return bands.T @ values / bands.sum(0)[:, None]


@functools.cache
def _hann(n_fft: int) -> Tensor:
    return torch.hann_window(n_fft)
