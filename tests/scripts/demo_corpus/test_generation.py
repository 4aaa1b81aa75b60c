"""Mouths, texts, patches and speech from which clips are made."""

import subprocess
import sys

import numpy as np
import pytest

from data.corpus.cast import draw_identity, draw_text, draw_texts
from data.corpus.face import Head, draw_look, draw_motion
from data.corpus.lipsync import blend, draw_patch
from data.corpus.mouth import OPEN, Habit, draw_habit, mouth_track
from data.corpus.speech import RATE, Speech, Voice, speak
from tests.paths import ROOT
from tests.scripts.demo_corpus.test_sync import FRAME


def test_mouth_follows_phonemes():
    """Lips close for p, b, m, open for open vowels, and rest in pauses."""
    names = ["m", "'aI", "p", "'a", "_:", "'u:"]
    speech = Speech(np.zeros(round(0.2 * len(names) * RATE)), [(0.2 * i, name) for i, name in enumerate(names)])
    track = mouth_track(speech, 0.4, 50, Habit(), np.random.default_rng(0))
    middle = {name: track[round((0.4 + 0.2 * i + 0.1 - 0.02) / FRAME - 0.5)] for i, name in enumerate(names)}
    assert max(middle["m"][OPEN], middle["p"][OPEN]) < 0.05
    assert min(middle["'a"][OPEN], middle["'aI"][OPEN]) > 0.8
    assert middle["_:"][OPEN] < 0.2
    assert middle["'u:"][2] > 0.8 > 0.3 > middle["'a"][2]  # rounded
    assert track[:8, OPEN].max() < 0.1  # before the speech


def test_articulation_varies_within_the_range_of_a_mouth():
    speech = Speech(np.zeros(RATE), [(0.0, "m"), (0.2, "'a"), (0.4, "p"), (0.6, "'u:")])
    rng = np.random.default_rng(0)
    tracks = np.stack([mouth_track(speech, 0.2, 35, draw_habit(rng), rng) for _ in range(20)])
    assert tracks.min() >= 0
    assert tracks.max() <= 1
    assert tracks.std(axis=0).max() > 0.08
    assert tracks[:, 16, OPEN].max() < 0.1, "lips close for p in every habit"


def test_texts_of_a_recording_are_alike():
    """Either may be the longer one, within the limits."""
    voice = draw_identity(0, 3).voice
    longer = []
    for seed in range(12):
        first, second, samples = draw_texts(voice, 4.6, 6.1, np.random.default_rng(seed))
        lengths = [speak(text, voice).seconds for text in (first, second)]
        assert first != second
        assert 4.55 < min(lengths) <= max(lengths) < min(6.15, 1.12 * min(lengths))
        assert samples / RATE == pytest.approx(np.mean(lengths), abs=0.05)
        longer.append(lengths[0] > lengths[1])
    assert 2 < sum(longer) < 10


def test_mouth_is_blended_within_its_patch():
    rng = np.random.default_rng(2)
    head, patch = Head(draw_look("African", "women", rng), rng), draw_patch(3, rng)
    pose = draw_motion(3, rng)[1]
    before = head.frame(pose, np.array([0.6, 0.5, 0.1, 0.5, 0.0])).astype(np.float32)
    after = before.copy()
    blend(after, head, pose, patch, 1)
    change = np.abs(after - before).mean(axis=2)
    x, y = head.placement(pose) @ np.array([*head.mouth, 1.0])
    rows, columns = np.nonzero(change > 1e-3)
    assert np.abs(np.stack([columns - x, rows - y])).max() < 0.8 * patch.side
    assert change[round(y) - 10 : round(y) + 10, round(x) - 10 : round(x) + 10].mean() > 1
    # A border of the frame cuts the patch off.
    blend(after, head, pose + np.array([90, 90, 0, 0, 0]), patch, 1)
    assert np.isfinite(after).all()


def test_speech_does_not_depend_on_the_time_of_day():
    """espeak-ng seeds its noise with the time, and this voice is all noise."""
    voice = Voice("whisper", 50, 60, 170)
    said = (
        "import hashlib, sys; from data.corpus.speech import Voice, _library, speak\n"
        "_library()[0].espeak_ng_SetRandSeed(int(sys.argv[1]))\n"
        f"print(hashlib.sha256(speak('a box of maps', {voice!r}).samples.tobytes()).hexdigest())"
    )
    hashes = [
        subprocess.run([sys.executable, "-c", said, seed], capture_output=True, text=True, cwd=ROOT, check=True).stdout
        for seed in ("5", "6")
    ]
    assert hashes[0] == hashes[1] != ""


def test_another_seed_gives_other_identities_and_texts():
    ours, theirs = draw_identity(0, 3), draw_identity(0, 4)
    assert ours == draw_identity(0, 3)
    assert ours.voice != theirs.voice != draw_identity(1, 4).voice
    assert draw_text(np.random.default_rng(3)) != draw_text(np.random.default_rng(4))
    faces = []
    for seed in (3, 3, 4):
        rng = np.random.default_rng(seed)
        pose, shape = draw_motion(1, rng)[0], np.array([0.0, 0.5, 0.0, 0.0, 0.0])
        faces.append(Head(draw_look("African", "men", rng), rng).frame(pose, shape).astype(float))
    assert np.array_equal(faces[0], faces[1])
    assert np.abs(faces[0] - faces[2]).mean() > 5
