"""Perturbations of time: frames shown when, in sync with the audio."""

import itertools

import numpy as np
import pytest

from avdfd.evaluation.robustness import PERTURBATIONS, timing
from avdfd.features.acoustics import edge_silence
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, WINDOW


def rng():
    return np.random.default_rng(7)


def beeps(lead: float = 0.0, trail: float = 0.0) -> np.ndarray:
    """A rising tone between edges of silence, whose frequency tells the time: 300 + 500 t Hz."""
    t = np.arange(WINDOW) / SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 * t + 250 * t**2))
    tone[: round(lead * SAMPLE_RATE)] = 0
    tone[WINDOW - round(trail * SAMPLE_RATE) :] = 0
    return tone.astype(np.float32)


def time_of(waveform: np.ndarray, at: float) -> float:
    """Return the time of `beeps` that plays at a given second of a waveform, whose tones may be slowed."""
    start = round(at * SAMPLE_RATE) - 400
    piece = waveform[start : start + 800] * np.hanning(800)
    peak = np.argmax(np.abs(np.fft.rfft(piece, 1 << 16))) * SAMPLE_RATE / (1 << 16)
    return float((peak - 300) / 500)


def test_dropped_frames_are_repeats_and_grow_around_each_other():
    levels = PERTURBATIONS["frame_drop"].levels
    shown = [timing.drop_frames(beeps(), level, rng()) for level in levels]
    for level, numbers in zip(levels, shown, strict=True):
        assert numbers[0] == 0
        changed = np.flatnonzero(np.diff(numbers)) + 1
        np.testing.assert_array_equal(numbers[changed], changed)  # what is not a repeat is the frame of that time
        assert FRAMES - 1 - len(changed) == round((FRAMES - 1) * level / 100)
    for fewer, more in itertools.pairwise(shown):
        kept, still = set(fewer), set(more)
        assert still < kept


@pytest.mark.parametrize("factor", PERTURBATIONS["speed"].levels)
def test_slower_audio_and_video_stay_in_sync(factor):
    slow = timing.slow_audio(beeps(), factor, rng())
    shown = timing.slow_frames(beeps(), factor, rng())
    assert np.all(np.diff(shown) >= 0)
    for number in (10, 38, 66):
        source = shown[number] / FPS
        pitch = 300 + 500 * time_of(slow, number / FPS)  # Hz; of the source, times the factor
        assert (pitch / factor - 300) / 500 == pytest.approx(source, abs=0.5 / FPS + 0.02)
    assert (shown[-1] - shown[0]) / (FRAMES - 1) == pytest.approx(factor, abs=0.02)


def test_trim_removes_the_edges_of_audio_and_video():
    waveform = beeps(lead=0.5, trail=0.3)
    trimmed, shown = timing.trim_audio(waveform, 1.5, rng()), timing.trim_frames(waveform, 1.5, rng())
    assert sum(edge_silence(trimmed, SAMPLE_RATE)) < 0.02
    assert shown[0] == pytest.approx(0.5 * FPS, abs=1)
    for number in (5, 20, 40):
        assert time_of(trimmed, number / FPS) == pytest.approx(shown[number] / FPS, abs=0.5 / FPS + 0.01)
    # What is left lasts 2.272 s and is repeated from there on.
    assert shown[-1] == pytest.approx((0.5 + 3.04 - 2.272) * FPS, abs=1)
    assert time_of(trimmed, 2.6) == pytest.approx(0.5 + 2.6 - 2.272, abs=0.02)


def test_trim_takes_no_more_than_its_level():
    waveform = beeps(lead=0.5)
    left = [edge_silence(timing.trim_audio(waveform, level, rng()), SAMPLE_RATE)[0] for level in (0.1, 0.2, 0.4, 0.8)]
    assert left == pytest.approx([0.4, 0.3, 0.1, 0.0], abs=0.011)


def test_trim_keeps_windows_without_silent_edges_or_without_audio():
    for waveform in (beeps(), np.zeros(WINDOW, np.float32)):
        np.testing.assert_array_equal(timing.trim_audio(waveform, 1.5, rng()), waveform)
        np.testing.assert_array_equal(timing.trim_frames(waveform, 1.5, rng()), np.arange(FRAMES))
