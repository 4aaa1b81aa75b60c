"""Distortions have the strength that they are asked for, and keep place and loudness."""

import numpy as np
import pytest
from scipy.signal import welch

from avdfd.evaluation.robustness import PERTURBATIONS
from avdfd.features import distortions
from avdfd.features.window import SAMPLE_RATE, WINDOW
from tests.helpers.signals import lag, power, speech_like


def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("snr", PERTURBATIONS["noise"].levels)
def test_noise_has_its_ratio(snr):
    waveform = speech_like()
    added = distortions.noise(waveform, snr, rng()) - waveform
    assert 10 * np.log10(power(waveform) / power(added)) == pytest.approx(snr, abs=0.01)


@pytest.mark.parametrize("rt60", PERTURBATIONS["reverberation"].levels)
def test_room_decays_by_60_db_in_its_time(rt60):
    """Return the RT60 by Schroeder's backward integration, from -5 to -25 dB."""
    tail = distortions.room(rt60, rng())[1:]
    decay = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    from_5, from_25 = (int(np.argmax(decay < level)) for level in (-5, -25))
    assert 3 * (from_25 - from_5) / SAMPLE_RATE == pytest.approx(rt60, rel=0.15)


def test_reverberation_keeps_loudness_and_place():
    waveform = speech_like()
    for rt60 in PERTURBATIONS["reverberation"].levels:
        wet = distortions.reverberation(waveform, rt60, rng())
        assert power(wet) == pytest.approx(power(waveform), rel=1e-4)
        assert lag(wet, waveform) == 0


@pytest.mark.parametrize("rate", PERTURBATIONS["resampling"].levels)
def test_resampling_leaves_nothing_above_half_its_rate(rate):
    waveform = speech_like()
    frequency, before = welch(waveform, SAMPLE_RATE, nperseg=1024)
    _, after = welch(distortions.resampling(waveform, rate), SAMPLE_RATE, nperseg=1024)
    ratio = 10 * np.log10(after / before)
    assert ratio[frequency > 1.05 * rate / 2].max() < -50
    assert np.abs(ratio[(frequency > 50) & (frequency < 0.85 * rate / 2)]).max() < 0.5


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.1, 1.5])
def test_speed_changes_length_and_pitch(factor):
    tone = (0.2 * np.sin(2 * np.pi * 400 * np.arange(WINDOW) / SAMPLE_RATE)).astype(np.float32)
    faster = distortions.speed(tone, factor)
    assert len(faster) == pytest.approx(WINDOW / factor, abs=1)
    frequency, level = welch(faster, SAMPLE_RATE, nperseg=16_384)
    assert frequency[np.argmax(level)] == pytest.approx(400 * factor, abs=1.5)
