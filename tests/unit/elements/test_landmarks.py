"""Landmarks in a store: of windows, short and whole clips, and beside elements without any."""

import pickle

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import LANDMARKS, encode_landmarks
from avdfd.elements.index import merge
from avdfd.features.window import FRAMES
from tests.helpers.elements import SETTINGS, WINDOWS, clip, tracks, whole_clip, with_landmarks


@pytest.mark.parametrize("indexed", [False, True])
def test_landmarks_of_windows_beside_elements_without(tmp_path, indexed):
    root = tmp_path / "store"
    with ElementWriter(root, SETTINGS, 2) as writer:
        writer.add(clip("a.mp4"), [with_landmarks(WINDOWS[0], 0), with_landmarks(WINDOWS[1], 1)])
        writer.add(clip("b.mp4"), [with_landmarks(whole_clip(30, 2), 2), with_landmarks(WINDOWS[3], 3)])
        writer.drop(["a.mp4"])  # moves b
    if indexed:
        assert merge(root)
    store = pickle.loads(pickle.dumps(ElementStore(root)))
    assert store.has_landmarks
    window, short = (store.read(meta.key, mel=False, landmarks=True).landmarks for meta in store.metas)
    assert np.abs(window - tracks(3)).max() <= 1 / 128
    assert np.abs(short - np.concatenate([tracks(2, 30)] * 3)[:FRAMES]).max() <= 1 / 128, "repeated as the frames are"
    assert store.read(store.metas[0].key).landmarks is None
    with ElementWriter(root, SETTINGS, 2) as writer:
        writer.add(clip("c.mp4"), [WINDOWS[2]])
    store = ElementStore(root)
    assert not store.has_landmarks
    with pytest.raises(UserError, match=r"have no landmarks\.npy; make a store with another media\.keep"):
        store.read(store.metas[-1].key, landmarks=True)


def test_landmarks_of_whole_clips_have_their_length(tmp_path):
    settings = SETTINGS | {"media.whole": True, "media.max_seconds": 4.0}
    with ElementWriter(tmp_path / "store", settings) as writer:
        writer.add(clip("a.mp4"), [with_landmarks(whole_clip(30, 0), 0)])
    assert merge(tmp_path / "store")
    store = ElementStore(tmp_path / "store", whole=True)
    assert store.read(store.metas[0].key, mel=False, landmarks=True).landmarks.shape == (30, 71, 3)


def test_landmarks_of_another_length_are_a_mistake(tmp_path):
    parts = {**WINDOWS[0]["parts"], LANDMARKS: encode_landmarks(tracks(0, 76))}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer, pytest.raises(AssertionError, match="another length"):
        writer.add(clip("a.mp4"), [{**WINDOWS[0], "parts": parts}])
