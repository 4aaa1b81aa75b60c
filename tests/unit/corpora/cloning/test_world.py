from dataclasses import asdict

import numpy as np
import pytest

from avdfd.config import WorldConfig
from avdfd.corpora.cloning import world
from avdfd.corpora.cloning.request import ConversionError, Request, checked
from avdfd.corpora.cloning.world import median_f0
from avdfd.corpora.cloning.world_backend import convert, draw_settings
from avdfd.features.window import SAMPLE_RATE
from data.corpus.speech import Voice, speak

LOW = speak("the captain found five purple flowers", Voice("m3", 40, 60, 165)).samples.astype(np.float32)
HIGH = speak("my brother painted the old bridge", Voice("f4", 40, 60, 165)).samples.astype(np.float32)


def request(source, reference, seed=3):
    return Request(source, reference, seed, asdict(draw_settings(WorldConfig(), seed)))


def test_pitch_matches_the_reference_and_the_length_is_kept():
    made = convert(request(LOW, HIGH))
    assert made.dtype == np.float32
    assert len(checked(made, LOW, 0.04)) == len(LOW)
    pitch = [median_f0(samples.astype(np.float64)) for samples in (LOW, HIGH, made)]
    assert abs(pitch[2] / pitch[1] - 1) < 0.15 < abs(pitch[0] / pitch[1] - 1)


def test_rate_equals_the_audio_rate():
    assert world.RATE == SAMPLE_RATE


def test_samples_depend_on_request_and_seed_only():
    assert np.array_equal(convert(request(LOW, LOW)), convert(request(LOW, LOW)))
    assert not np.array_equal(convert(request(LOW, LOW)), convert(request(LOW, LOW, seed=4)))


def test_settings_are_drawn_within_their_ranges():
    cfg = WorldConfig(cepstrum=[30, 30], flatten=[0.1, 0.2])
    drawn = [draw_settings(cfg, seed) for seed in range(20)]
    assert {settings.cepstrum for settings in drawn} == {30}
    assert all(0.1 <= settings.flatten <= 0.2 for settings in drawn)
    assert len({settings.voiced_to for settings in drawn}) == 20


def test_audio_without_voice_is_refused():
    with pytest.raises(ConversionError, match="no voiced speech"):
        convert(request(np.zeros(16_000, np.float32), HIGH))
