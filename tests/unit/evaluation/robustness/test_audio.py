"""Every perturbation of audio has the effect and the strength of its name and level."""

import itertools

import numpy as np
import pytest
from scipy.signal import find_peaks, welch

from avdfd.evaluation.robustness import PERTURBATIONS, audio
from avdfd.features.window import SAMPLE_RATE, WINDOW

NAMES = [name for name, how in PERTURBATIONS.items() if how.audio is not None]


def rng():
    return np.random.default_rng(7)


def speech_like() -> np.ndarray:
    """Coloured noise in syllables, which fills the band."""
    draw = np.random.default_rng(0).standard_normal(WINDOW)
    coloured = draw + np.convolve(draw, np.ones(24) / 4, mode="same")
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(WINDOW) / SAMPLE_RATE)
    return (0.05 * coloured * syllables).astype(np.float32)


def power(waveform: np.ndarray) -> float:
    return float(np.square(waveform, dtype=np.float64).mean())


def lag(moved: np.ndarray, original: np.ndarray) -> int:
    """Return the delay of a waveform in samples, by circular cross-correlation."""
    spectrum = np.fft.rfft(moved) * np.conj(np.fft.rfft(original))
    peak = int(np.argmax(np.fft.irfft(spectrum, len(moved))))
    return peak - len(moved) if peak > len(moved) // 2 else peak


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


@pytest.mark.parametrize("snr", PERTURBATIONS["noise"].levels)
def test_noise_has_its_ratio(snr):
    waveform = speech_like()
    added = audio.noise(waveform, snr, rng()) - waveform
    assert 10 * np.log10(power(waveform) / power(added)) == pytest.approx(snr, abs=0.01)


@pytest.mark.parametrize("rt60", PERTURBATIONS["reverberation"].levels)
def test_room_decays_by_60_db_in_its_time(rt60):
    """Return the RT60 by Schroeder's backward integration, from -5 to -25 dB."""
    tail = audio.room(rt60, rng())[1:]
    decay = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    from_5, from_25 = (int(np.argmax(decay < level)) for level in (-5, -25))
    assert 3 * (from_25 - from_5) / SAMPLE_RATE == pytest.approx(rt60, rel=0.15)


def test_reverberation_keeps_loudness_and_place():
    waveform = speech_like()
    for rt60 in PERTURBATIONS["reverberation"].levels:
        wet = audio.reverberation(waveform, rt60, rng())
        assert power(wet) == pytest.approx(power(waveform), rel=1e-4)
        assert lag(wet, waveform) == 0


@pytest.mark.parametrize("rate", PERTURBATIONS["resampling"].levels)
def test_resampling_leaves_nothing_above_half_its_rate(rate):
    waveform = speech_like()
    frequency, before = welch(waveform, SAMPLE_RATE, nperseg=1024)
    _, after = welch(audio.resampling(waveform, rate, rng()), SAMPLE_RATE, nperseg=1024)
    ratio = 10 * np.log10(after / before)
    assert ratio[frequency > 1.05 * rate / 2].max() < -50
    assert np.abs(ratio[(frequency > 50) & (frequency < 0.85 * rate / 2)]).max() < 0.5


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
