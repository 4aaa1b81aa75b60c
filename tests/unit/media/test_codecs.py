"""Codecs of the chain: a sound comes back as long as it was, where it was, and changed as the codec changes it."""

from collections import Counter

import numpy as np
import pytest

from avdfd.config import CodecConfig
from avdfd.media.codecs import random_round_trip, round_trip

RATE = 16_000
CODECS = [
    CodecConfig(name="mulaw"),
    CodecConfig(name="aac", bit_rate=32_000),
    CodecConfig(name="mp3", bit_rate=32_000),
    CodecConfig(name="opus", bit_rate=24_000),
]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Three seconds of chirps whose loudness comes and goes."""
    t = np.arange(3 * RATE + 123) / RATE
    return (0.2 * np.sin(2 * np.pi * (200 + 300 * t) * t) * (1 + np.sin(6 * t)) / 2).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_length_and_time_stay(codec, sound):
    back = round_trip(codec, sound, RATE)
    assert back.shape == sound.shape
    assert back.dtype == np.float32
    middle = sound[RATE : 2 * RATE]
    lags = range(-1200, 1201)
    assert max(lags, key=lambda lag: float(back[RATE + lag : 2 * RATE + lag] @ middle)) == 0
    assert 0 < np.square(back - sound).mean() < 0.2 * np.square(sound).mean()
    assert np.array_equal(round_trip(codec, sound, RATE), back)


def test_the_name_draws_the_codec(sound):
    sound = sound[: RATE // 2]
    ways = [round_trip(codec, sound, RATE).tobytes() for codec in CODECS]
    drawn = Counter(ways.index(random_round_trip(CODECS, sound, RATE, f"{n}.wav").tobytes()) for n in range(80))
    assert sorted(drawn) == [0, 1, 2, 3]
    assert min(drawn.values()) > 8
    assert random_round_trip([], sound, RATE, "1.wav") is sound


def test_config_says_which_bit_rate_is_wanted():
    with pytest.raises(ValueError, match="aac takes one"):
        CodecConfig(name="aac")
    with pytest.raises(ValueError, match="mulaw takes 0"):
        CodecConfig(name="mulaw", bit_rate=64_000)
