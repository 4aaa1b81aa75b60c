"""Fixed band-pass filters of raw-waveform networks: windowed differences of sincs, their bands even on the mel scale.

References:
    Ravanelli and Bengio, "Speaker Recognition from Raw Waveform with SincNet", SLT 2018.
    Tak et al., "End-to-End Anti-Spoofing with RawNet2", ICASSP 2021 (filters that are not trained).
"""

import numpy as np
import torch
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
