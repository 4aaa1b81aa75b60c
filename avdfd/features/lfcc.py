"""Linear-frequency cepstral coefficients up to 4 kHz, as the LFCC baselines of ASVspoof 2021 take them.

    waveform (..., S) at 16 kHz in [-1, 1]   coefficients (..., T, 60), one row per 10 ms

References:
    Sahidullah, Kinnunen and Hanilci, "A Comparison of Features for Synthetic Speech Detection", Interspeech 2015.
    Wang and Yamagishi, "A Comparative Study on Recent Neural Spoofing Countermeasures for Synthetic Speech Detection",
    Interspeech 2021.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.features.filterbank import cosines
from avdfd.features.window import SAMPLE_RATE

COEFFICIENTS = 20
"""Coefficients of a frame, without their differences."""

_N_FFT = 1024
_FRAME = 320
_HOP = 160
_BINS = 256
"""Bins of the spectrum that are used, those below 4 kHz."""
_PRE_EMPHASIS = 0.97


def lfcc(waveform: Tensor) -> Tensor:
    """Waveform (..., S) -> coefficients, their differences and those of these (..., 1 + S // 160, 60).

    The first coefficient is the log energy. Frames are centred; the signal is continued by zeros.
    """
    emphasised = torch.cat([waveform[..., :1], waveform[..., 1:] - _PRE_EMPHASIS * waveform[..., :-1]], dim=-1)
    window = torch.hamming_window(_FRAME, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(
        emphasised, _N_FFT, _HOP, _FRAME, window, center=True, pad_mode="constant", return_complex=True
    )
    power = spectrum.abs().square()[..., :_BINS, :].mT
    epsilon = torch.finfo(torch.float32).eps
    filters, transform = (table.to(power.device, power.dtype) for table in (_filters(), cosines(COEFFICIENTS)))
    cepstrum = ((power @ filters.T) + epsilon).log10() @ transform.T
    energy = (power.sum(dim=-1, keepdim=True) / _N_FFT + epsilon).log10()
    coefficients = torch.cat([energy, cepstrum[..., 1:]], dim=-1)
    steps = _differences(coefficients)
    return torch.cat([coefficients, steps, _differences(steps)], dim=-1)


def _differences(x: Tensor) -> Tensor:
    """Return the next row minus the previous one of (..., T, K); at an end the row itself takes the missing place."""
    return torch.cat([x[..., 1:, :], x[..., -1:, :]], dim=-2) - torch.cat([x[..., :1, :], x[..., :-1, :]], dim=-2)


@functools.cache
def _filters() -> Tensor:
    """Return triangles (20, 256) of unit height, evenly spaced. The last bin counts as 4 kHz, as released."""
    hertz = torch.linspace(0, SAMPLE_RATE / 4, _BINS, dtype=torch.float64)
    corners = torch.linspace(0, SAMPLE_RATE / 4, COEFFICIENTS + 2, dtype=torch.float64)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return F.relu(torch.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre)))
