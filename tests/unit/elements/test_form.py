"""An element in bytes and back: audio, mel, frames and landmarks."""

import numpy as np
import pytest
import torch

from avdfd.elements import ElementMeta, pack, unpack
from avdfd.elements.form import LANDMARKS, encode_audio, encode_frame, encode_landmarks, frame_sizes
from avdfd.features.mel import log_mel
from avdfd.features.window import FRAMES, WINDOW
from tests.helpers.elements import frames, tracks, waveform


def test_unpack_inverts_pack_up_to_rounding():
    facts = {"tier": "RVFA", "identities": ("id1", "id2"), "source": "s.mp4", "base": "b.mp4", "method": "m"}
    facts |= {"race": "r", "gender": "g", "sha256": "ab"}
    meta = ElementMeta(**facts, key="k", start=1.0, end=4.072, version="v")
    samples, images = waveform(0), frames(0)
    parts = pack(meta, samples, images, 95)
    assert set(parts) == {"json", "wav", "mel.npy", "mjpeg"}
    element = unpack(parts)
    assert element.meta == meta
    assert np.abs(element.waveform - samples).max() <= 0.5 / 32768 + 1e-9
    assert np.abs(element.frames.astype(int) - images).mean() < 1.5
    assert element.frames.shape == (FRAMES, 224, 224, 3)
    # The mel is exactly that of the stored audio, so it may as well be computed when the element is read.
    assert np.array_equal(element.mel, log_mel(torch.from_numpy(element.waveform)).numpy())
    assert element.mel.dtype == element.waveform.dtype == np.float32


def test_loud_samples_are_clipped_not_wrapped():
    loud = np.full(WINDOW, 1.5, np.float32)
    loud[::2] = -1.5
    element = unpack({**encode_audio(loud), "mjpeg": encode_frame(frames(0)[0], 90)})
    assert element.waveform.max() == pytest.approx(32767 / 32768)
    assert element.waveform.min() == -1


def test_frame_sizes_of_noise():
    rng = np.random.default_rng(0)
    jpegs = [encode_frame(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8), 100) for _ in range(5)]
    assert frame_sizes(b"".join(jpegs)) == [len(jpeg) for jpeg in jpegs]


def test_landmarks_are_stored_to_a_128th_of_a_pixel():
    parts = {LANDMARKS: encode_landmarks(tracks(0))}
    assert len(parts[LANDMARKS]) < 33_000
    stored = unpack(parts).landmarks
    assert stored.dtype == np.float32
    assert np.abs(stored - tracks(0)).max() <= 1 / 128
    far = np.full((1, 71, 3), 1e6)
    assert unpack({LANDMARKS: encode_landmarks(far)}).landmarks.max() == 32767 / 64
    for wrong in (tracks(0)[:, :70], np.where(tracks(0) > 259, np.nan, tracks(0))):
        with pytest.raises(ValueError, match="finite points"):
            encode_landmarks(wrong)
