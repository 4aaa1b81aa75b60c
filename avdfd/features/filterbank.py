"""Log filter banks, the audio features of AV-HuBERT and MRDF, and their cepstra, those of SyncNet.

    waveform (..., S) at 16 kHz in [-1, 1]   bank (..., N, 26), one per 10 ms   stacked (..., T, 104), 25 per second
    cepstra (..., 13, N)

Defined as python_speech_features' `logfbank` and `mfcc` with their default settings on 16-bit samples.
"""

import functools
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from avdfd.features.window import SAMPLE_RATE

BANDS = 26
STACK = 4
COEFFICIENTS = 13

_N_FFT = 512
_FRAME = 400
_HOP = 160
_PRE_EMPHASIS = 0.97
_FULL_SCALE = 32_768
_LIFTER = 22


def stacked_filterbank(waveform: Tensor, steps: int | None = None) -> Tensor:
    """Waveform (..., S) -> filter banks (..., T, 104): 4 frames concatenated, each step normalised over its 104 values.

    `steps` is the number of video frames, to which the result is cut or padded with zeros (before normalising).
    """
    bank = log_filterbank(waveform)
    bank = F.pad(bank, (0, 0, 0, -bank.shape[-2] % STACK))
    stacked = rearrange(bank, "... (t stack) band -> ... t (stack band)", stack=STACK)
    if steps is not None:
        stacked = F.pad(stacked, (0, 0, 0, steps - stacked.shape[-2]))
    return F.layer_norm(stacked, stacked.shape[-1:])


def log_filterbank(waveform: Tensor) -> Tensor:
    """Waveform (..., S) -> log energies (..., N, 26) of 25 ms frames every 10 ms, padded with zeros at the end.

    Sums are in float64, as in the original; a band of digital silence is the log of the float64 epsilon.
    """
    return _log_bands(_power(waveform)).float()


def log_cepstra(waveform: Tensor) -> Tensor:
    """Waveform (..., S) -> cepstral coefficients (..., 13, N) of the same frames; the first is the log energy instead.

    The others are the cosine transform of the log filter bank, orthonormal, times a lifter.
    """
    power = _power(waveform)
    number = torch.arange(COEFFICIENTS, dtype=torch.float64, device=power.device)
    lifter = 1 + _LIFTER / 2 * torch.sin(math.pi * number / _LIFTER)
    cepstra = _log_bands(power) @ (lifter[:, None] * cosines(BANDS).to(power.device)[:COEFFICIENTS]).T
    cepstra[..., 0] = _log(power.sum(dim=-1))
    return rearrange(cepstra, "... n k -> ... k n").float()


@functools.cache
def cosines(size: int) -> Tensor:
    """Return the orthonormal cosine transform, DCT-II, (size, size) in float64."""
    k = torch.arange(size, dtype=torch.float64)
    table = torch.cos(math.pi * k[:, None] * (k + 0.5) / size) * math.sqrt(2 / size)
    return torch.cat([table[:1] * math.sqrt(0.5), table[1:]])


def _power(waveform: Tensor) -> Tensor:
    """Waveform (..., S) -> power spectra (..., N, 257) of 25 ms frames every 10 ms, in float64."""
    samples = waveform.double() * _FULL_SCALE
    emphasised = torch.cat([samples[..., :1], samples[..., 1:] - _PRE_EMPHASIS * samples[..., :-1]], dim=-1)
    count = 1 + max(0, math.ceil((samples.shape[-1] - _FRAME) / _HOP))
    padded = F.pad(emphasised, (0, (count - 1) * _HOP + _FRAME - samples.shape[-1]))
    frames = padded.unfold(-1, _FRAME, _HOP)
    return torch.fft.rfft(frames, n=_N_FFT).abs().square() / _N_FFT


def _log_bands(power: Tensor) -> Tensor:
    return _log(power @ filters().to(power.device).T)


def _log(energy: Tensor) -> Tensor:
    return energy.where(energy > 0, torch.finfo(torch.float64).eps).log()


@functools.cache
def filters() -> Tensor:
    """Return triangular filters (26, 257) of unit height, even on the HTK mel scale, corners rounded down to bins."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mel = torch.linspace(0, top, BANDS + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    corners = torch.floor((_N_FFT + 1) * hertz / SAMPLE_RATE)
    bins = torch.arange(_N_FFT // 2 + 1, dtype=torch.float64)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return F.relu(torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
