import math

import numpy as np
import torch

from avdfd.features.sinc import sinc_filters


def test_each_filter_is_a_windowed_difference_of_low_passes():
    filters = sinc_filters(20, 129).numpy()
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (top * i / 20 / 2595) - 1) / 16_000 for i in range(21)]
    for number in (0, 7, 19):
        low, high = edges[number], edges[number + 1]
        for tap in (0, 30, 64, 100):
            t = tap - 64
            ideal = (
                2 * (high - low)
                if t == 0
                else (math.sin(2 * math.pi * high * t) - math.sin(2 * math.pi * low * t)) / (math.pi * t)
            )
            hamming = 0.54 - 0.46 * math.cos(2 * math.pi * tap / 128)
            assert math.isclose(filters[number, tap], hamming * ideal, rel_tol=1e-5, abs_tol=1e-8)


def test_filters_are_symmetric_and_pass_their_own_band():
    filters = sinc_filters(20, 1025)
    torch.testing.assert_close(filters, filters.flip(1))
    gain = torch.fft.rfft(filters, 4096).abs()
    assert (np.diff(gain.argmax(dim=1).numpy()) > 0).all()
    assert ((gain.amax(dim=1) > 0.8) & (gain.amax(dim=1) < 1.2)).all()
