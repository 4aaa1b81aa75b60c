"""RawBoost against the formulas of its paper, computed sample by sample or with SciPy's causal filter."""

import numpy as np
import pytest
from scipy.signal import firwin, freqz, lfilter

from avdfd.features import rawboost
from avdfd.features.window import SAMPLE_RATE
from tests.helpers.signals import lag, power, speech_like


class Recorded:
    """A generator whose draws are kept."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.drawn: list[float] = []

    def uniform(self, low, high):
        self.drawn.append(self.rng.uniform(low, high))
        return self.drawn[-1]

    def integers(self, low, high):
        self.drawn.append(int(self.rng.integers(low, high)))
        return self.drawn[-1]


def through(waveform: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A causal filter, and its delay removed."""
    delay = (len(taps) - 1) // 2
    return lfilter(taps, 1, np.pad(waveform.astype(np.float64), (0, delay)))[delay:]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gain", [0.0, -12.5])
def test_a_filter_is_five_notches_in_a_row(seed, gain):
    rng = Recorded(seed)
    taps = rawboost.notch_filter(gain, rng)
    expected, draws = np.ones(1), iter(rng.drawn)
    for centre, width, count in zip(draws, draws, draws, strict=True):
        assert 20 <= centre <= 8000
        assert 100 <= width <= 1000
        assert 10 <= count < 100
        edges = [max(centre - width / 2, 0.001), min(centre + width / 2, 7999.999)]
        expected = np.convolve(expected, firwin(count + (count % 2 == 0), edges, fs=SAMPLE_RATE))
    assert len(rng.drawn) == 15
    loudest = np.abs(freqz(expected)[1]).max()
    np.testing.assert_allclose(taps, expected * 10 ** (gain / 20) / loudest, rtol=1e-9, atol=1e-12)
    assert 20 * np.log10(np.abs(freqz(taps)[1]).max()) == pytest.approx(gain)


def test_convolutive_noise_is_a_sum_of_filtered_powers(monkeypatch):
    taps, gains = [], []
    draw = rawboost.notch_filter

    def recorded(gain, rng):
        gains.append(gain)
        taps.append(draw(gain, rng))
        return taps[-1]

    monkeypatch.setattr(rawboost, "notch_filter", recorded)
    waveform = speech_like()
    found = rawboost.convolutive(waveform, np.random.default_rng(3))
    expected = sum(through(waveform.astype(np.float64) ** (i + 1), one) for i, one in enumerate(taps))
    expected -= expected.mean()
    np.testing.assert_allclose(found, expected / max(1, np.abs(expected).max()), atol=1e-6)
    assert gains[0] == 0
    assert len(gains) == 5
    assert all(-20 <= gain <= -5 for gain in gains[1:])
    assert found.dtype == np.float32
    assert lag(found, waveform) == 0


def test_impulsive_noise_changes_some_samples_in_proportion():
    waveform = speech_like()
    shares = []
    for seed in range(20):
        found = rawboost.impulsive(waveform, 10, 2, np.random.default_rng(seed))
        changed = found != waveform
        shares.append(100 * changed.mean())
        relative = found[changed] / waveform[changed] - 1
        assert np.abs(relative).max() < 2
        assert np.mean(relative**2) == pytest.approx(4 / 9, rel=0.2), (
            "the square of a uniform number is 1/3 in the mean"
        )
    assert max(shares) <= 10
    assert 3 < np.mean(shares) < 7


@pytest.mark.parametrize("snr", [0.0, 10.0, 40.0])
def test_stationary_noise_has_its_ratio_and_notches(snr):
    waveform = speech_like()
    added = rawboost.stationary(waveform, snr, np.random.default_rng(2)) - waveform
    assert 10 * np.log10(power(waveform) / power(added)) == pytest.approx(snr, abs=0.05)
    rng = np.random.default_rng(2)
    white = rng.standard_normal(len(waveform))
    shaped = through(white, rawboost.notch_filter(0.0, rng))
    np.testing.assert_allclose(added / added.std(), shaped / shaped.std(), atol=0.02)


def test_silence_stays_silence_and_nothing_is_beyond_full_scale():
    rng = np.random.default_rng(0)
    loud = np.sign(speech_like()) * np.float32(0.99)
    for change in (
        lambda audio: rawboost.convolutive(audio, rng),
        lambda audio: rawboost.impulsive(audio, 100, 2, rng),
    ):
        assert not change(np.zeros(4000, np.float32)).any()
        assert np.abs(change(loud)).max() == pytest.approx(1)
    assert not rawboost.stationary(np.zeros(4000, np.float32), 10, rng).any()
