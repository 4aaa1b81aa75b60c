import numpy as np
import pytest

from avdfd.media.speaker import loudness, speaking

RNG = np.random.default_rng(0)
COUNT, RATE = 77, 16_000


def syllables(seed: int) -> np.ndarray:
    """Return a slow random track (77,) from 0 to 1 at 25 frames a second: loudness, or the opening of a mouth."""
    rng = np.random.default_rng(seed)
    track = np.interp(np.arange(COUNT), np.arange(0, COUNT + 4, 4), rng.uniform(0, 1, len(np.arange(0, COUNT + 4, 4))))
    return track * (np.sin(np.arange(COUNT) / 6 + rng.uniform(0, 6)) > -0.3)


def mouth(track: np.ndarray) -> np.ndarray:
    """Return mouths (77, 4) that open as the track says, with noise of the landmarks."""
    still = np.array([0.02, 0.2, 0.9, 0.5])
    return still + track[:, None] * [0.25, 0.3, 0.2, -0.05] + RNG.normal(0, 0.004, (COUNT, 4))


def audio(track: np.ndarray) -> np.ndarray:
    samples = np.interp(np.arange(COUNT * 640) / 640, np.arange(COUNT), track)
    return (samples * 0.2 * RNG.normal(0, 1, COUNT * 640)).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_mouth_that_moves_with_the_audio_speaks(seed):
    own, other, still = (mouth(t) for t in (syllables(seed), syllables(seed + 50), np.zeros(COUNT)))
    played = audio(syllables(seed))
    assert speaking([own, other], played) == 0
    assert speaking([other, still, own], played) == 2
    assert speaking([still, own], played) == 1


def test_lips_may_move_before_the_audio():
    track = syllables(1)
    assert speaking([mouth(syllables(60)), mouth(np.roll(track, -4))], audio(track)) == 1


def test_without_evidence_nobody_speaks():
    track = syllables(2)
    still = mouth(np.zeros(COUNT))
    assert speaking([], audio(track)) is None
    assert speaking([mouth(track)], audio(track)) is None, "one face needs no choice"
    assert speaking([mouth(track), mouth(track)], audio(track)) is None, "a tie"
    assert speaking([still, mouth(track)], np.full(COUNT * 640, 0.1, np.float32)) is None, "steady noise"
    assert speaking([still, mouth(track)], np.zeros(COUNT * 640, np.float32)) is None
    constant = np.full((COUNT, 4), 0.3)
    assert speaking([constant, constant], audio(track)) is None


def test_loudness_is_that_of_the_moment():
    samples = np.zeros(COUNT * 640, np.float32)
    samples[RATE : RATE + 1280] = 0.25
    found = loudness(samples, COUNT)
    assert found.shape == (COUNT,)
    assert found.argmax() in (25, 26)
    assert found.max() == pytest.approx(0.5, abs=0.05)
    assert found[:23].max() == found[29:].max() == 0
