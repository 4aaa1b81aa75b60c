"""Mouth and audio of the built-in corpus are in sync."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avdfd.core.tiers import FVRA, RVRA
from data.corpus.mux import encode_video, write_clip
from data.corpus.speech import RATE
from tests.helpers.demo_corpus import clips, grey_frames, samples_of

FRAME = 1 / 25


def explained_by_loudness(path: Path, reach: int = 5) -> np.ndarray:
    """Return how much of the fast changes around the mouth the loudness explains, from the decoded file alone, if the
    mouth is late by -`reach` to `reach` frames."""

    def fast(x: np.ndarray) -> np.ndarray:
        return x - cv2.blur(x, (1, 11), borderType=cv2.BORDER_REPLICATE)  # the head's own motion is slow

    frames = grey_frames(path)[:, 128:200, 64:160]
    small = np.stack([cv2.resize(f, (24, 18), interpolation=cv2.INTER_AREA) for f in frames]).reshape(len(frames), -1)
    samples = samples_of(path)[: len(frames) * 640].reshape(len(frames), 640)
    loudness = fast(np.sqrt((samples**2).mean(axis=1))[:, None])
    moves = fast(small)[6:-6]
    lags = range(-reach, reach + 1)
    return np.array([((moves * np.roll(loudness, k, axis=0)[6:-6]).mean(axis=0) ** 2).sum() for k in lags])


def test_mouth_and_audio_are_in_sync_to_a_frame(corpus):
    real, fake = (np.array([explained_by_loudness(p) for p in clips(corpus, tier)]) for tier in (RVRA, FVRA))
    lags = real.argmax(axis=1) - 5
    assert np.median(np.abs(lags)) <= 1
    assert np.mean(np.abs(lags) <= 1) >= 0.8, lags  # loudness is a rough proxy of the mouth: one may be wrong
    together = np.s_[:, 4:7]
    assert np.mean(real[together].max(axis=1) > fake[together].max(axis=1)) >= 0.8, "a fake mouth says something else"


def test_codec_chain_keeps_time(tmp_path):
    """A simultaneous flash and click stay simultaneous."""
    times = np.array([0.52, 2.0, 3.48])
    frames = np.full((125, 224, 224, 3), 40, np.uint8)
    samples = np.zeros(125 * 640, np.float32)
    for t in times:
        frames[round(t / FRAME)] = 220
        samples[round(t * RATE) : round(t * RATE) + 32] = 0.8
    path = tmp_path / "tier" / "race" / "gender" / "id" / "clip.mp4"
    write_clip(path, encode_video(frames, 400_000), samples, tmp_path)
    brightness = grey_frames(path).mean(axis=(1, 2))
    with av.open(str(path)) as container:
        shown = np.array([float(f.pts * f.time_base) for f in container.decode(video=0)])
    assert np.allclose(shown[brightness > 130], times, atol=1e-3)
    decoded = samples_of(path)
    for t in times:
        near = decoded[round((t - 0.1) * RATE) : round((t + 0.1) * RATE)]
        assert np.argmax(np.abs(near)) / RATE - 0.1 == pytest.approx(0.001, abs=0.005)
