"""Codec round trips keep length and position of audio and add the artefacts of the codec."""

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
def chirp() -> np.ndarray:
    """Return a chirp (S,) of three seconds with varying loudness."""
    t = np.arange(3 * RATE + 123) / RATE
    return (0.2 * np.sin(2 * np.pi * (200 + 300 * t) * t) * (1 + np.sin(6 * t)) / 2).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_length_and_position_are_kept(codec, chirp):
    back = round_trip(codec, chirp, RATE)
    assert back.shape == chirp.shape
    assert back.dtype == np.float32
    middle = chirp[RATE : 2 * RATE]
    lags = range(-1200, 1201)
    assert max(lags, key=lambda lag: float(back[RATE + lag : 2 * RATE + lag] @ middle)) == 0
    assert 0 < np.square(back - chirp).mean() < 0.2 * np.square(chirp).mean()
    assert np.array_equal(round_trip(codec, chirp, RATE), back)


def test_name_draws_the_codec(chirp):
    chirp = chirp[: RATE // 2]
    results = [round_trip(codec, chirp, RATE).tobytes() for codec in CODECS]
    drawn = Counter(results.index(random_round_trip(CODECS, chirp, RATE, f"{n}.wav").tobytes()) for n in range(80))
    assert sorted(drawn) == [0, 1, 2, 3]
    assert min(drawn.values()) > 8
    assert random_round_trip([], chirp, RATE, "1.wav") is chirp


def test_config_names_the_required_bit_rate():
    with pytest.raises(ValueError, match="aac takes one"):
        CodecConfig(name="aac")
    with pytest.raises(ValueError, match="mulaw takes 0"):
        CodecConfig(name="mulaw", bit_rate=64_000)
