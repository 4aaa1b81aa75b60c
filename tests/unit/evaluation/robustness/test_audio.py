"""Every perturbation of audio has the effect and the strength of its name and level."""

import itertools

import numpy as np
import pytest
from scipy.signal import find_peaks, welch

from avdfd.evaluation.robustness import PERTURBATIONS, audio
from avdfd.features.window import SAMPLE_RATE, WINDOW
from tests.helpers.signals import lag, power, speech_like

NAMES = [name for name, how in PERTURBATIONS.items() if how.audio is not None]


def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("name", NAMES)
def test_same_draw_same_length_same_type(name):
    how, waveform = PERTURBATIONS[name], speech_like()
    before = waveform.copy()
    once, again = (how.audio(waveform, how.levels[-1], rng()) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(waveform, before)
    assert once.shape == (WINDOW,)
    assert once.dtype == np.float32
    assert np.isfinite(once).all()
    if name != "trim":  # this signal has no silence at its edges
        assert np.abs(once - waveform).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_silence_stays_silence(name):
    how = PERTURBATIONS[name]
    perturbed = how.audio(np.zeros(WINDOW, np.float32), how.levels[0], rng())
    assert np.abs(perturbed).max() < 1e-3


@pytest.mark.parametrize("name", ["mp3", "aac", "opus"])
def test_codecs_lose_more_and_move_nothing(name):
    how, waveform = PERTURBATIONS[name], speech_like()
    perturbed = [how.audio(waveform, level, rng()) for level in (how.levels[0], how.levels[-1])]
    assert max(abs(lag(one, waveform)) for one in perturbed) <= 4  # Opus is a quarter of a millisecond off at worst
    mild, strong = (power(one - waveform) / power(waveform) for one in perturbed)
    assert 1e-5 < mild < strong


@pytest.mark.parametrize("semitones", PERTURBATIONS["pitch"].levels)
def test_pitch_moves_a_tone(semitones):
    tone = (0.2 * np.sin(2 * np.pi * 400 * np.arange(WINDOW) / SAMPLE_RATE)).astype(np.float32)
    frequency, level = welch(audio.pitch(tone, semitones, rng()), SAMPLE_RATE, nperseg=16_384)
    assert frequency[np.argmax(level)] == pytest.approx(400 * 2 ** (semitones / 12), abs=1.5)


@pytest.mark.parametrize("percent", PERTURBATIONS["clipping"].levels)
def test_clipping_cuts_its_part_and_keeps_loudness(percent):
    waveform = speech_like()
    clipped = audio.clipping(waveform, percent, rng())
    at_height = np.abs(clipped) > np.abs(clipped).max() * (1 - 1e-6)
    assert at_height.mean() == pytest.approx(percent / 100, abs=1e-3)
    assert power(clipped) == pytest.approx(power(waveform), rel=1e-4)
    assert np.abs(clipped).max() <= np.abs(waveform).max()


def test_muted_parts_grow_around_each_other():
    waveform = speech_like()
    quiet = [audio.muted(waveform, level, rng()) == 0 for level in PERTURBATIONS["muted"].levels]
    for level, part in zip(PERTURBATIONS["muted"].levels, quiet, strict=True):
        assert part.mean() == pytest.approx(level / 100, abs=0.06)
    for fewer, more in itertools.pairwise(quiet):
        assert (more | ~fewer).all()
    edges = find_peaks(np.abs(np.diff(quiet[2].astype(float))), height=1)[0] + 1
    assert np.all(edges % round(audio.MUTED_PIECE * SAMPLE_RATE) == 0)


def test_missing_audio_is_silent_at_the_end():
    waveform = speech_like()
    for level in PERTURBATIONS["missing_sound"].levels:
        left = round(WINDOW * (1 - level / 100))
        gone = audio.missing(waveform, level, rng())
        np.testing.assert_array_equal(gone[:left], waveform[:left])
        assert not gone[left:].any()
