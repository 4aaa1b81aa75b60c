"""Edge silence and bandwidth of synthetic signals."""

import numpy as np
import pytest
from scipy.signal import firwin, oaconvolve

from avdfd.features.acoustics import edge_silence, loud_pieces, spectral_edge

RATE = 16_000


def white(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def test_edge_silence():
    signal = np.concatenate([np.zeros(4_000), np.ones(16_000), np.zeros(1_600)]).astype(np.float32)
    assert edge_silence(signal, RATE) == (0.25, 0.1)
    assert edge_silence(np.zeros(1_600, np.float32), RATE) == (0.1, 0.0)
    assert edge_silence(np.zeros(0, np.float32), RATE) == (0.0, 0.0)


def test_loud_is_within_30_db_of_the_loudest():
    signal = np.repeat([1.0, 10 ** (-29 / 20), 10 ** (-31 / 20)], RATE // 100)
    assert loud_pieces(signal, RATE).tolist() == [True, True, False]
    assert loud_pieces(1e-3 * signal, RATE).tolist() == [True, True, False]
    assert loud_pieces(signal, RATE, silent_db=20).tolist() == [True, False, False]


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_bandwidth_of_white_noise_is_half_the_rate(rate):
    assert spectral_edge(white(1, rate), rate) == rate / 2


@pytest.mark.parametrize("edge", [2_000, 4_000, 7_000])
def test_edge_of_a_filter_is_found_at_any_rate(edge):
    for rate in (16_000, 44_100):
        signal = oaconvolve(white(1, rate), firwin(2001, edge - 60, fs=rate, window="blackman"))
        assert spectral_edge(signal, rate) == edge


def test_noise_40_db_below_the_signal_does_not_count():
    tone = np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)
    assert spectral_edge(tone + 1e-3 * white(1), RATE) == 1_250
    assert spectral_edge(tone + white(1), RATE) == RATE / 2


def test_hum_and_offset_do_not_count():
    hum = np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)
    assert spectral_edge(hum + 1 + white(1), RATE) == RATE / 2


def test_silence_has_no_edge():
    assert spectral_edge(np.zeros(RATE, np.float32), RATE) == 0
    assert spectral_edge(np.zeros(0, np.float32), RATE) == 0
