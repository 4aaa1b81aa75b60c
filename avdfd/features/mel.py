"""Mel and linear spectrograms.

waveform (..., S) at 16 kHz   mel (..., 128, S // 64): 4 ms per frame   a window: S = 49,152 -> 768 mel frames
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.features.window import MEL_BINS, SAMPLE_RATE

_N_FFT = 512
_WINDOW = 256
HOP = 64
_FLOOR = 1e-6


def log_mel(waveform: Tensor) -> Tensor:
    """Log mel power of a waveform (..., S) in [-1, 1] at 16 kHz: (..., 128, S // 64), not normalised.

    S must exceed 256, the half FFT frame that is reflected at the edges.
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    # Centring makes S // 64 + 1 frames; the last one is beyond the end.
    power = _power(flat, "hamming", _WINDOW, _N_FFT, HOP, frames=waveform.shape[-1] // HOP)
    mel = _filters_on(power.device, power.dtype) @ power
    return (mel + _FLOOR).log().reshape(*waveform.shape[:-1], MEL_BINS, -1)


def log_spectrum(waveform: Tensor, n_fft: int) -> Tensor:
    """Log power of a waveform (..., S) in n_fft / 2 linear bins and 4 S / n_fft frames, not normalised.

    The number of points is the same for every n_fft, a power of two. Hann windows overlap by three quarters; S must
    exceed n_fft / 2.
    """
    flat = waveform.reshape(-1, waveform.shape[-1])
    power = _power(flat, "hann", n_fft, n_fft, n_fft // 4, frames=4 * waveform.shape[-1] // n_fft)[:, : n_fft // 2]
    # torch keeps frames first in memory, but later steps run along time.
    power = power.contiguous()
    return (power + _FLOOR).log().reshape(*waveform.shape[:-1], *power.shape[1:])


def _power(waveform: Tensor, window: str, length: int, n_fft: int, hop: int, *, frames: int) -> Tensor:
    """Power of the centred short-time spectra of waveforms (B, S), reflected at the edges: (B, n_fft / 2 + 1, frames).

    `window`, "hamming" or "hann" of a length, is centred in n_fft points. Where a graph is exported to ONNX, which has
    no complex numbers and another Hamming window, the transform is a product with cosines and sines, in float64.
    """
    if not torch.compiler.is_exporting():
        make = torch.hamming_window if window == "hamming" else torch.hann_window
        spectrum = torch.stft(
            waveform,
            n_fft,
            hop_length=hop,
            win_length=length,
            window=make(length, dtype=waveform.dtype, device=waveform.device),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return spectrum[..., :frames].abs().square()
    wide = F.pad(waveform[:, None].double(), (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
    points, bins = torch.arange(length, dtype=torch.float64), torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    share = 0.54 if window == "hamming" else 0.5
    weights = share - (1 - share) * (points * (2 * torch.pi / length)).cos()
    angles = points[:, None] * bins * (2 * torch.pi / n_fft)  # from the start of the window: the power is the same
    basis = torch.cat([angles.cos(), angles.sin()], dim=1) * weights[:, None]
    places = torch.arange(frames)[:, None] * hop + (n_fft - length) // 2 + torch.arange(length)
    real, imaginary = (wide[:, places] @ basis).chunk(2, dim=2)
    return (real.square() + imaginary.square()).transpose(1, 2).to(waveform.dtype)


def zscore(mel: Tensor) -> Tensor:
    """Normalise a mel (..., 128, T), or another spectrogram, to zero mean and unit standard deviation per clip.

    The standard deviation is unbiased, and 1e-6 is added to it. Sums are in float64 and row by row, so that the result
    depends neither on the batch nor on the number of threads.
    """
    wide = mel.to(torch.float64, copy=True)
    wide -= wide.mean(dim=-1, keepdim=True).mean(dim=-2, keepdim=True)
    count = mel.shape[-2] * mel.shape[-1]
    variance = wide.square().mean(dim=-1, keepdim=True).mean(dim=-2, keepdim=True) * (count / (count - 1))
    return (wide / (variance.sqrt() + _FLOOR)).to(mel.dtype)


@functools.cache
def _filters_on(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `mel_filters` on a device, copied once: every copy would wait for the GPU."""
    return mel_filters().to(device, dtype)


@functools.cache
def mel_filters() -> Tensor:
    """Return triangular filters (128, 257) on the HTK mel scale, of unit area as in Slaney's Auditory Toolbox."""
    nyquist = SAMPLE_RATE / 2
    top = 2595 * torch.log10(torch.tensor(1 + nyquist / 700, dtype=torch.float64))
    corners = 700 * (10 ** (torch.linspace(0, 1, MEL_BINS + 2, dtype=torch.float64) * top / 2595) - 1)
    bins = torch.linspace(0, nyquist, _N_FFT // 2 + 1, dtype=torch.float64)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    triangles = F.relu(torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    return (triangles * 2 / (high - low)).float()
