"""Replaced streams as they are read, and the elements that take part in each case."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.datasets.loaders import Reads
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import mel_of
from avdfd.evaluation.counterfactuals import cases as module
from avdfd.evaluation.counterfactuals.cases import (
    NO_STRANGER,
    NOT_JOINED,
    SHIFTS,
    SWAPS,
    cases_of,
    check,
    view_of,
)
from avdfd.evaluation.counterfactuals.store import Change, ChangedStore
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import FRAMES, SAMPLE_RATE, WINDOW
from tests.helpers.continuous import continuous_store
from tests.helpers.runs import make_store
from tests.unit.elements.test_store import SETTINGS, WINDOWS, clip, with_landmarks

WANTED = [3, 20, 60, 70]
READS = [Reads(frames=WANTED)]


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


def test_cases_of_a_store_with_overlapping_windows(made):
    _, store = made
    found = cases_of(store, store.metas, READS, seed=0)
    kinds = [case.kind for case in found.cases]
    assert found.left_out == {}
    assert kinds.count("stranger") == SWAPS
    assert kinds.count("shift") == 2 * len(SHIFTS)
    assert kinds.count("fixed_audio") == kinds.count("fixed_video") == 1
    by_key = {meta.key: meta for meta in store.metas}
    for case in found.cases:
        assert set(case.changes) == {meta.key for meta in case.metas}
        if case.kind in ("stranger", "shift"):
            assert {meta.tier for meta in case.metas} == {"RVRA"}
        else:
            assert len(case.metas) == len(store.metas)
        if case.kind == "stranger":
            assert len(case.metas) == 2 * 3  # two clips of three windows swap, one is left over
            for key, change in case.changes.items():
                assert by_key[key].start == by_key[change.audio].start
                assert by_key[key].identities != by_key[change.audio].identities
                assert case.changes[change.audio].audio == key
        if case.kind == "shift":
            # A late audio starts before its window, and an early one ends after it.
            missing = 0.0 if case.number > 0 else 2.048
            assert sorted({meta.start for meta in case.metas}) == sorted({0.0, 1.024, 2.048} - {missing})
    views = [view_of(case, store, found.joined) for case in found.cases]
    assert len({view.name for view in views}) == len(views)


def test_draws_depend_on_the_seed_alone(made):
    _, store = made
    first, same, other = (cases_of(store, store.metas, READS, seed).cases for seed in (0, 0, 1))
    assert [case.changes for case in first] == [case.changes for case in same]
    assert [case.changes for case in first] != [case.changes for case in other]


def test_what_a_store_does_not_allow_is_left_out_by_name(tmp_path, made):
    _, alone = continuous_store(tmp_path / "alone", (0.0, 4.0), ("id1",), ("RVRA", "FVRA"))
    found = cases_of(alone, alone.metas, READS, seed=0)
    shifts = {f"shift {ms} ms": NOT_JOINED for ms in SHIFTS}
    assert found.left_out == {"stranger": NO_STRANGER, **shifts}
    _, store = made
    found = cases_of(store, store.metas, [Reads(mel=False, mel_err=True, frames=WANTED)], seed=0)
    assert {*found.left_out} == {*shifts, "reversed"}
    assert {case.kind for case in found.cases} == {"stranger", "fixed_audio", "fixed_video", "shuffled", "still"}
    assert module.NO_MEL_ERR in found.left_out.values()


def test_a_clip_with_a_window_more_swaps_those_that_both_have(tmp_path, made):
    _, store = made
    metas = [meta for meta in store.metas if meta.source != "RVRA/id1.mp4" or meta.start < 2]
    for case in cases_of(store, metas, READS, seed=0).cases:
        if case.kind == "stranger":
            assert len(case.metas) == (4 if "RVRA/id1.mp4" in {meta.source for meta in case.metas} else 6)


def test_clips_shorter_than_a_window_neither_get_nor_give_a_stream(made):
    _, store = made

    def shortened(meta):
        return replace(meta, end=meta.start + 2) if meta.start == 0 else None

    one = [shortened(meta) or meta for meta in store.metas if meta.identities == ("id1",)]
    rest = [meta for meta in store.metas if meta.identities != ("id1",)]
    for case in cases_of(store, one + rest, READS, seed=0).cases:
        given = {key for change in case.changes.values() for key in (change.audio, change.frames) if key}
        changed = {meta.key for meta in case.metas} if case.kind in ("stranger", "shift") else set()
        assert not (given | changed) & {meta.key for meta in one if meta.start == 0}
    short = [meta for meta in map(shortened, store.metas) if meta]
    found = cases_of(store, short, READS, seed=0)
    assert {case.kind for case in found.cases} == {"shuffled", "still", "reversed"}
    assert {found.left_out[kind] for kind in ("fixed_audio", "fixed_video")} == {module.ALL_SHORT}


def run(frames):
    return SimpleNamespace(folder="runs/x", inputs=SimpleNamespace(reads=Reads(frames=frames)))


def test_requests_that_cannot_be_met(tmp_path, made):
    _, store = made
    check(store, run(WANTED))
    with pytest.raises(UserError, match="runs/x: takes audio alone"):
        check(store, run(None))
    check(store, SimpleNamespace(inputs=SimpleNamespace(reads=Reads(landmarks=True))))
    with pytest.raises(UserError, match="--counterfactuals needs audio and video, which a VFD folder does not have"):
        check(SimpleNamespace(root="x"), run(WANTED))
    whole = ElementStore(make_store(tmp_path, whole=(30,)) / "elements", whole=True)
    with pytest.raises(UserError, match="needs windows of 3.072 s, and these elements are whole clips"):
        check(whole, run(WANTED))
