"""Re-synthesised fakes: close to the original but different, deterministic, with their place in the order."""

import numpy as np
import pytest
import torch

from avdfd.config.vocoding import REAL_WAYS as REAL_NAMES
from avdfd.config.vocoding import WAYS as NAMES
from avdfd.core.tiers import AUDIO_CLASS
from avdfd.corpora.vocoding import RATE, REAL_WAYS, SHORTEST, WAYS, remake, vocode
from avdfd.corpora.vocoding.bands import mel_bands
from avdfd.corpora.vocoding.spectral import analyse, synthesise


def voice(seconds=0.6):
    """Harmonics of a varying 120 Hz tone with changing level and a little noise: (S,) float32."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 10 * np.sin(2 * np.pi * 3 * time)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 20)) * (1.2 + np.sin(2 * np.pi * 4 * time))
    return (0.05 * tone + 0.002 * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


def spectrum(samples):
    """Energies of 20 mel bands over time in dB, which do not depend on the phase."""
    return 10 * (mel_bands(20, 257) @ analyse(samples, 512).abs().square() + 1e-7).log10()


def test_config_names_all_ways():
    assert set(NAMES) == set(WAYS)
    assert set(REAL_NAMES) == set(REAL_WAYS)


@pytest.mark.parametrize("way", REAL_WAYS)
def test_a_vocoded_clip_stays_close_and_is_deterministic(way):
    source = voice()
    made = vocode(source, way, "a.wav")
    assert (made.shape, made.dtype) == (source.shape, np.float32)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(np.square(made).mean(), np.square(source).mean(), rtol=1e-3)
    assert not np.allclose(made, source, atol=1e-3)
    np.testing.assert_array_equal(made, vocode(source, way, "a.wav"))
    voiced = slice(2, 9)  # bands below 3400 Hz, which a telephone keeps
    agreement = np.corrcoef(spectrum(made)[voiced].ravel(), spectrum(source)[voiced].ravel())[0, 1]
    assert agreement > 0.6


def test_a_telephone_has_no_high_frequencies():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.05
    power = analyse(vocode(noise, "telephone", "a"), 512).abs().square().mean(dim=1)
    assert power[130:].sum() < 1e-3 * power.sum(), "above 4 kHz"


def test_ways_of_real_clips_keep_the_speaker():
    assert not {"shifted", "world-shifted", "linear-prediction"} & set(REAL_WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_fake_is_close_different_and_deterministic(way):
    source = voice()
    made = remake(source, way, "a.wav")
    assert made.shape == source.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    np.testing.assert_allclose(np.square(made).mean(), np.square(source).mean(), rtol=1e-3)
    assert np.abs(made - source).max() > 0.05 * np.abs(source).max()
    agreement = np.corrcoef(spectrum(made).ravel(), spectrum(source).ravel())[0, 1]
    assert agreement > 0.6
    np.testing.assert_array_equal(made, remake(source, way, "a.wav"))
    assert not np.array_equal(made, remake(source, way, "b.wav"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("samples", [np.zeros(SHORTEST, np.float32), voice()[:SHORTEST]], ids=["silence", "shortest"])
def test_degenerate_audio(way, samples):
    made = remake(samples, way, "a.wav")
    assert made.shape == samples.shape
    assert np.isfinite(made).all()


def test_order():
    place = {way: AUDIO_CLASS[made.tier.name] for way, made in WAYS.items()}
    assert place["world"] < place["world-shifted"] < place["linear-prediction"]
    assert set(place.values()) == {1, 2, 3}


def test_shifted_voice_is_higher_or_lower():
    def pitch(samples):  # largest peak of the autocorrelation between 80 and 200 Hz
        whole = np.correlate(samples, samples, "full")[len(samples) - 1 :]
        return RATE / (80 + np.argmax(whole[80:200]))

    for name in ("a", "b", "c"):
        assert 0.02 < abs(np.log(pitch(remake(voice(), "shifted", name)) / pitch(voice()))) < 0.2


def test_spectrum_round_trip():
    samples = voice()
    np.testing.assert_allclose(synthesise(analyse(samples, 512), len(samples)), samples, atol=1e-5)


@pytest.mark.parametrize(("count", "bins"), [(40, 257), (80, 257), (128, 257), (128, 129), (80, 513)])
def test_bands_are_means_that_cover_all_bins(count, bins):
    bands = mel_bands(count, bins)
    torch.testing.assert_close(bands.sum(1), torch.ones(count))
    assert (bands.sum(0) > 0).all()
