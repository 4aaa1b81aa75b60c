"""A perturbed store is read like any other store, and always gives the same elements."""

import pickle

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_frame, encode_wav, mel_of
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.evaluation.robustness import PERTURBATIONS, SEVERITIES, choose
from avdfd.evaluation.robustness.store import PerturbedStore
from avdfd.evaluation.robustness.timing import slow_frames
from avdfd.features.window import FRAMES, SAMPLE_RATE, WINDOW
from tests.helpers.continuous import continuous_store
from tests.helpers.elements import SETTINGS, WINDOWS, clip, with_landmarks
from tests.helpers.runs import make_store

WANTED = [3, 20, 60]


@pytest.fixture(scope="module")
def store(small_store):
    return ElementStore(small_store / "elements")


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_element_keeps_its_form(store, name):
    key = store.metas[1].key
    joined = JoinedAudio(store, store.metas)
    early = PERTURBATIONS[name].moved > 0
    key = store.metas[0].key if early else key  # of two windows, the first one has audio after it
    perturbed = PerturbedStore(store, name, 5, joined)
    element = perturbed.read(key, waveform=True, mel=True, frames=WANTED)
    assert element.meta.key == key
    assert element.waveform.shape == (49_152,)
    assert element.frames.shape == (3, 224, 224, 3)
    assert (element.waveform.dtype, element.frames.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(element.mel, mel_of(element.waveform))  # the mel is computed from the perturbed audio
    again = pickle.loads(pickle.dumps(perturbed)).read(key, waveform=True, mel=False, frames=WANTED)
    np.testing.assert_array_equal(again.waveform, element.waveform)
    np.testing.assert_array_equal(again.frames, element.frames)
    assert again.mel is None
    assert perturbed.read(key).waveform is None


def test_a_short_clip_is_perturbed_as_the_window_that_it_fills(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 640 * 30).astype(np.float32)
    mjpeg = b"".join(encode_frame(np.full((224, 224, 3), 8 * k, np.uint8), 90) for k in range(30))
    clip = {name: name for name in ("source", "base", "sha256")} | {"tier": "RVRA", "identities": ["id1"]}
    with ElementWriter(tmp_path, {}) as writer:
        window = {"start": 0.0, "end": 1.2, "parts": {"wav": encode_wav(samples, 16_000), "mjpeg": mjpeg}}
        writer.add(clip, [window])
    store = ElementStore(tmp_path)
    (meta,) = store.metas
    for name in ("noise", "frame_drop", "missing_picture"):
        element = PerturbedStore(store, name, 5).read(meta.key, waveform=True, frames=range(FRAMES))
        assert element.waveform.shape == (49_152,)
        assert len(element.frames) == FRAMES


def test_unperturbed_parts_are_unchanged(store):
    key = store.metas[0].key
    clean = store.read(key, waveform=True, frames=WANTED)
    blurred = PerturbedStore(store, "blur", 3).read(key, waveform=True, frames=WANTED)
    noisy = PerturbedStore(store, "noise", 3).read(key, waveform=True, frames=WANTED)
    np.testing.assert_array_equal(blurred.waveform, clean.waveform)
    np.testing.assert_array_equal(blurred.mel, clean.mel)
    np.testing.assert_array_equal(noisy.frames, clean.frames)
    assert np.abs(noisy.waveform - clean.waveform).max() > 0.01
    assert np.abs(noisy.mel - clean.mel).max() > 0.1


@pytest.mark.parametrize(("name", "sign"), [("sound_late", -1), ("sound_early", 1)])
def test_moved_audio_is_that_of_the_clip(tmp_path, name, sign):
    clip, store = continuous_store(tmp_path, starts=(0.0, 1.024, 2.048))
    meta = store.metas[1]
    for severity in SEVERITIES:
        perturbed = PerturbedStore(store, name, severity, JoinedAudio(store, store.metas))
        first = round((meta.start + sign * perturbed.level / 1000) * SAMPLE_RATE)
        element = perturbed.read(meta.key, waveform=True, frames=WANTED)
        np.testing.assert_array_equal(element.waveform, clip[first : first + WINDOW])
        np.testing.assert_array_equal(element.frames, store.read(meta.key, frames=WANTED).frames)


def test_elements_have_draws_of_their_own(store):
    noisy = PerturbedStore(store, "noise", 5)
    one, other = (
        noisy.read(meta.key, waveform=True).waveform - store.read(meta.key, waveform=True).waveform
        for meta in store.metas[:2]
    )
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


@pytest.mark.parametrize("severity", SEVERITIES)
def test_dropped_frames_are_read_as_their_forerunners(store, severity):
    key = store.metas[0].key
    clean = store.read(key, mel=False, frames=range(FRAMES)).frames
    shown = PerturbedStore(store, "frame_drop", severity).read(key, mel=False, frames=range(FRAMES)).frames
    same = (shown == clean).all(axis=(1, 2, 3))
    assert same[0]
    for number in np.flatnonzero(~same):
        np.testing.assert_array_equal(shown[number], shown[number - 1])


def test_landmarks_are_those_of_the_frames_that_are_shown(tmp_path):
    with ElementWriter(tmp_path, SETTINGS) as writer:
        writer.add(clip("a.mp4"), [with_landmarks(WINDOWS[0], 0)])
    store = ElementStore(tmp_path)
    key = store.metas[0].key
    clean = store.read(key, waveform=True, landmarks=True)

    def of(name, severity):
        return PerturbedStore(store, name, severity).read(key, landmarks=True).landmarks

    for name in ("noise", "blur", "h264", "jpeg"):
        np.testing.assert_array_equal(of(name, 5), clean.landmarks)
    perturbed = PerturbedStore(store, "speed", 5)
    shown = slow_frames(clean.waveform, perturbed.level, perturbed._draws(key))
    np.testing.assert_array_equal(of("speed", 5), clean.landmarks[shown])
    lost = of("missing_picture", 3)  # 60 % of 77 frames
    np.testing.assert_array_equal(lost[:31], clean.landmarks[:31])
    np.testing.assert_array_equal(lost[31:], np.repeat(clean.landmarks[30:31], 46, axis=0))
    np.testing.assert_array_equal(of("missing_picture", 5), np.repeat(clean.landmarks[:1], FRAMES, axis=0))
    assert perturbed.read(key).landmarks is None


@pytest.mark.parametrize("name", ["speed", "frame_drop", "h264"])
def test_whole_clips_are_perturbed_over_their_length(tmp_path, name):
    whole = ElementStore(make_store(tmp_path, whole=(30, 90)) / "elements", whole=True)
    one_of_each = {round(25 * meta.end): meta for meta in whole.metas}
    assert sorted(one_of_each) == [30, 90]
    for steps, meta in one_of_each.items():
        element = PerturbedStore(whole, name, 5).read(meta.key, waveform=True, mel=False, frames=range(500))
        assert (len(element.frames), len(element.waveform)) == (steps, 640 * steps)


def test_mel_err_of_perturbed_audio_is_refused(store):
    with pytest.raises(UserError, match="noise changes the audio, for which mel_err is not known"):
        PerturbedStore(store, "noise", 1).read(store.metas[0].key, mel_err=True)


def test_names():
    assert choose([]) == tuple(PERTURBATIONS)
    assert choose(["sound_late", "noise", "noise"]) == ("noise", "sound_late")
    with pytest.raises(UserError, match="unknown perturbation 'reverb'; did you mean 'reverberation'"):
        choose(["noise", "reverb"])
    with pytest.raises(UserError, match="choose from noise, reverberation"):
        choose(["zzz"])
    for how in PERTURBATIONS.values():
        assert len(how.levels) == len(SEVERITIES)
        assert list(how.levels) in (sorted(how.levels), sorted(how.levels, reverse=True))
