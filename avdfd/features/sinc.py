"""Fixed band-pass filters of raw-waveform networks: windowed differences of sincs, their bands even on the mel scale.

References:
    Ravanelli and Bengio, "Speaker Recognition from Raw Waveform with SincNet", SLT 2018.
    Tak et al., "End-to-End Anti-Spoofing with RawNet2", ICASSP 2021 (filters that are not trained).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.features.window import SAMPLE_RATE


def sinc_filters(count: int, taps: int) -> Tensor:
    """Return `count` filters (count, taps) under a Hamming window that divide 0 to 8 kHz; `taps` is odd.

    Edges of neighbouring bands coincide and are even on the HTK mel scale.
    """
    assert taps % 2, "a symmetric filter has an odd number of taps"
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, count + 1) / 2595) - 1)
    time = np.arange(taps) - taps // 2
    rates = 2 * edges[:, None] / SAMPLE_RATE
    low_pass = rates * np.sinc(rates * time)
    return torch.from_numpy(np.hamming(taps) * np.diff(low_pass, axis=0)).float()


def long_filtered(waveform: Tensor, filters: Tensor) -> Tensor:
    """Waveform (B, S) through long filters (K, 1, taps) that are not trained -> (B, K, S - taps + 1), as by conv1d.

    It is a product of spectra on a CPU, where that is faster, but in an exported graph.
    """
    if waveform.device.type != "cpu" or torch.compiler.is_exporting():
        return F.conv1d(waveform[:, None], filters)
    samples, taps = waveform.shape[1], filters.shape[2]
    size = 1 << (samples - 1).bit_length()
    spectra = torch.fft.rfft(waveform[:, None], size) * torch.fft.rfft(filters[:, 0].flip(1), size)
    return torch.fft.irfft(spectra, size)[..., taps - 1 : samples]  # what is before has wrapped round
