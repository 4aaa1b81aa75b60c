"""Replaced streams as they are read."""

import pickle

import numpy as np
import pytest

from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import mel_of
from avdfd.evaluation.counterfactuals.store import Change, ChangedStore
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, WINDOW
from tests.helpers.continuous import continuous_store
from tests.helpers.elements import SETTINGS, WINDOWS, clip, with_landmarks
from tests.helpers.runs import make_store

WANTED = [3, 20, 60, 70]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return continuous_store(root, (0.0, 1.024, 2.048), ("id1", "id2", "id3"), ("RVRA", "FVRA"))


def read(store, changes, key, **wanted):
    joined = JoinedAudio(store, store.metas)
    view = pickle.loads(pickle.dumps(ChangedStore(store, changes, joined)))
    return view.read(key, waveform=True, frames=WANTED, **wanted)


def test_a_stream_of_another_element(made):
    _, store = made
    one, other = store.metas[0].key, store.metas[-1].key
    own, theirs = (store.read(key, waveform=True, frames=WANTED) for key in (one, other))
    dubbed = read(store, {one: Change(audio=other)}, one)
    np.testing.assert_array_equal(dubbed.waveform, theirs.waveform)
    np.testing.assert_array_equal(dubbed.mel, theirs.mel)
    np.testing.assert_array_equal(dubbed.frames, own.frames)
    assert dubbed.meta == store.metas[0]
    shown = read(store, {one: Change(frames=other)}, one)
    np.testing.assert_array_equal(shown.waveform, own.waveform)
    np.testing.assert_array_equal(shown.frames, theirs.frames)


def test_moved_and_reversed_audio_have_the_mel_of_their_samples(made):
    _, store = made
    metas = [meta for meta in store.metas if meta.source == "RVRA/id1.mp4"]
    key = metas[1].key
    parts = [store.read(meta.key, waveform=True).waveform for meta in metas]
    hop = round(1.024 * SAMPLE_RATE)
    clip = np.concatenate([parts[0], parts[1][-hop:], parts[2][-hop:]])
    late = read(store, {key: Change(moved=-6400)}, key)
    np.testing.assert_array_equal(late.waveform, clip[hop - 6400 : hop - 6400 + WINDOW])
    np.testing.assert_array_equal(late.mel, mel_of(late.waveform))
    backwards = read(store, {key: Change(reverse=True)}, key)
    np.testing.assert_array_equal(backwards.waveform, parts[1][::-1])
    np.testing.assert_array_equal(backwards.mel, mel_of(backwards.waveform))
    assert ChangedStore(store, {key: Change(reverse=True)}).read(key).waveform is None


def test_order_of_frames(made):
    _, store = made
    key = store.metas[0].key
    own = store.read(key, frames=WANTED).frames
    still = read(store, {key: Change(order="still")}, key).frames
    np.testing.assert_array_equal(still, np.repeat(own[:1], len(WANTED), axis=0))
    keys = [meta.key for meta in store.metas]
    every = store.read(key, frames=range(FRAMES)).frames[:, 0, 0, 0]
    shuffled = [
        ChangedStore(store, {key: Change(order="shuffled")}).read(key, frames=range(FRAMES)).frames[:, 0, 0, 0]
        for key in keys
    ]
    assert all(sorted(of) == sorted(every) for of in shuffled)  # the same frames
    assert len({tuple(of) for of in shuffled}) > 3  # in orders of their own
    part = read(store, {keys[0]: Change(order="shuffled")}, keys[0]).frames
    assert part[:, 0, 0, 0].tolist() == shuffled[0][WANTED].tolist()  # one order, whichever frames are taken
    for change in (Change(), Change(order="shuffled"), Change(order="still")):
        more = ChangedStore(store, {key: change}).read(key, frames=range(2 * FRAMES)).frames
        assert len(more) == FRAMES  # what a window has


def test_landmarks_go_with_the_frames(tmp_path):
    with ElementWriter(tmp_path, SETTINGS) as writer:
        for seed, source in enumerate(("a.mp4", "b.mp4")):
            writer.add(clip(source), [with_landmarks(WINDOWS[seed], seed)])
    store = ElementStore(tmp_path)
    one, other = (meta.key for meta in store.metas)
    own, theirs = (store.read(key, landmarks=True).landmarks for key in (one, other))
    shown = store.read(one, frames=range(FRAMES)).frames

    def of(**change):
        return ChangedStore(store, {one: Change(**change)}).read(one, landmarks=True).landmarks

    np.testing.assert_array_equal(of(audio=other), own)
    np.testing.assert_array_equal(of(reverse=True), own)
    np.testing.assert_array_equal(of(frames=other), theirs)
    np.testing.assert_array_equal(of(order="still"), np.repeat(own[:1], FRAMES, axis=0))
    shuffled = of(order="shuffled")
    assert sorted(shuffled[:, 0, 0]) == sorted(own[:, 0, 0])
    order = [next(k for k in range(FRAMES) if (own[k] == points).all()) for points in shuffled]
    assert (np.array(order) != np.arange(FRAMES)).mean() > 0.9
    frames = ChangedStore(store, {one: Change(order="shuffled")}).read(one, frames=WANTED).frames
    np.testing.assert_array_equal(frames, shown[[order[moment] for moment in WANTED]])  # at the same moments
    assert ChangedStore(store, {one: Change()}).read(one).landmarks is None


def test_a_stretch_of_a_whole_clip(tmp_path):
    store = ElementStore(make_store(tmp_path, whole=(30, 40)) / "elements", whole=True)
    one, other = (next(m.key for m in store.metas if round(m.end * FPS) == frames) for frames in (30, 40))
    own, theirs = (store.read(key, waveform=True, mel=False, frames=range(50)) for key in (one, other))

    def of(key, **change):
        view = pickle.loads(pickle.dumps(ChangedStore(store, {key: Change(**change)})))
        return view.read(key, waveform=True, mel=False, frames=range(50))

    np.testing.assert_array_equal(of(one).frames, own.frames)
    np.testing.assert_array_equal(of(one).waveform, own.waveform)
    cut = of(other, span=(5, 30))
    np.testing.assert_array_equal(cut.frames, theirs.frames[5:35])
    np.testing.assert_array_equal(cut.waveform, theirs.waveform[5 * 640 : 35 * 640])
    np.testing.assert_array_equal(of(other, span=(5, 30), moved=-3000).waveform, theirs.waveform[200:][: 30 * 640])
    dubbed = of(one, audio=other, span=(0, 30))
    np.testing.assert_array_equal(dubbed.frames, own.frames)
    np.testing.assert_array_equal(dubbed.waveform, theirs.waveform[: 30 * 640])
    np.testing.assert_array_equal(of(one, frames=other, span=(0, 30)).frames, theirs.frames[:30])
    np.testing.assert_array_equal(of(one, reverse=True).waveform, own.waveform[::-1])
    np.testing.assert_array_equal(of(one, order="still").frames, np.repeat(own.frames[:1], 30, axis=0))
    shuffled = of(other, order="shuffled").frames
    assert len(shuffled) == 40  # all of the clip's, and no other
    assert sorted(map(bytes, shuffled)) == sorted(map(bytes, theirs.frames))
    with pytest.raises(AssertionError, match="in the clip"):
        of(one, span=(0, 30), moved=640)
