"""Elements of another length than a window: whole clips, and short ones that are repeated."""

import json
import pickle
import tarfile

import numpy as np
import pytest
import torch

from avdfd.elements import ElementStore, ElementWriter, unpack
from avdfd.elements.form import encode_audio, encode_frame, encode_wav
from avdfd.elements.index import merge
from avdfd.features.mel import log_mel
from avdfd.features.window import FRAMES, WINDOW
from tests.helpers.elements import SETTINGS, WINDOWS, clip, frames, waveform, whole_clip


@pytest.mark.parametrize("indexed", [False, True])
def test_whole_clips_have_their_own_length(tmp_path, indexed):
    clips = {"a.mp4": whole_clip(30, 0), "b.mp4": whole_clip(100, 1), "c.mp4": whole_clip(26, 2)}
    settings = SETTINGS | {"media.whole": True, "media.max_seconds": 4.0}
    with ElementWriter(tmp_path / "store", settings, 2) as writer:
        for source, element in clips.items():
            writer.add(clip(source), [element])
        writer.drop(["a.mp4"])  # moves b
    if indexed:
        assert merge(tmp_path / "store")
    store = pickle.loads(pickle.dumps(ElementStore(tmp_path / "store", whole=True)))
    assert store.whole
    for meta in store.metas:
        expected = unpack(clips[meta.source]["parts"])
        element = store.read(meta.key, waveform=True, mel=False, frames=range(500))
        assert np.array_equal(element.waveform, expected.waveform)
        assert np.array_equal(element.frames, expected.frames)
        assert np.array_equal(store.read(meta.key, mel=False, frames=[3, 25]).frames, expected.frames[[3, 25]])


@pytest.mark.parametrize("indexed", [False, True])
def test_a_clip_shorter_than_a_window_is_repeated_to_fill_one(tmp_path, indexed):
    steps = 30
    samples, images = waveform(0)[: 640 * steps], frames(0)[:steps]
    full = np.concatenate([samples] * 3)[:WINDOW]
    mjpeg = b"".join(encode_frame(frame, 90) for frame in images)
    parts = {**encode_audio(full), "wav": encode_wav(samples, 16_000), "mjpeg": mjpeg}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        writer.add(clip("a.mp4"), [{"start": 0.04, "end": 0.04 + steps / 25, "parts": parts}])
        writer.add(clip("b.mp4"), [WINDOWS[0]])
    if indexed:
        assert merge(tmp_path / "store")
    store = ElementStore(tmp_path / "store")
    short, window = store.metas
    assert (short.short, window.short) == (True, False)
    element = store.read(short.key, waveform=True, frames=range(500))
    stored = unpack(parts)
    assert np.array_equal(element.waveform, np.concatenate([stored.waveform] * 3)[:WINDOW])
    assert np.array_equal(element.mel, log_mel(torch.from_numpy(element.waveform)).numpy())
    assert np.array_equal(element.frames, np.concatenate([stored.frames] * 3)[:FRAMES]), "in sync with the audio"
    assert np.array_equal(store.read(short.key, frames=[3, 33, 70]).frames, stored.frames[[3, 3, 10]])
    with tarfile.open(tmp_path / "store" / "shard-000-00000.tar") as archive:
        facts = [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]
    assert [one["short"] for one in facts] == [True, False]
