"""Elements of a split as batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avdfd.baselines import mrdf, vfd
from avdfd.config import AugmentConfig, PretrainConfig, SynchronyConfig, parse
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Draw
from avdfd.datasets.split_elements import split_metas
from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_frame, encode_wav
from avdfd.features.mouth_shape import mouth_shape
from tests.helpers.elements import SETTINGS, WINDOWS, clip, with_landmarks


@pytest.fixture(scope="module")
def data(small_store):
    return small_store


@pytest.fixture(scope="module")
def store(data):
    return ElementStore(data / "elements")


@pytest.fixture
def cfg(data):
    elements = {"elements": str(data / "elements"), "splits": str(data / "splits"), "fake_tiers": ["RVFA-VC", "FVRA"]}
    return parse({"name": "x", "data": elements}, PretrainConfig, "test")


def test_elements_of_a_split_and_its_tiers(cfg, store):
    metas = split_metas(cfg, store, "validation")
    assert {m.tier for m in metas} == {"RVRA", "RVFA-VC", "FVRA"}
    assert {m.identities for m in metas} == {("id3",), ("id4",)}
    assert {m.tier for m in split_metas(cfg, store, "validation", ["RVFA"])} == {"RVRA", "RVFA"}


def test_validation_may_have_other_tiers_than_training(cfg, store):
    data = cfg.data.model_copy(update={"fake_tiers": ["RVFA"], "validation_tiers": ["RVFA-VC"]})
    cfg = cfg.model_copy(update={"data": data})
    tiers = {split: {m.tier for m in split_metas(cfg, store, split)} for split in ("train", "validation", "test")}
    assert tiers == {"train": {"RVRA", "RVFA"}, "validation": {"RVRA", "RVFA-VC"}, "test": {"RVRA", "RVFA"}}
    assert {m.tier for m in split_metas(cfg, store, "validation", ())} == {"RVRA"}


def test_tier_without_elements_is_refused(cfg, store):
    with pytest.raises(UserError, match="split 'test' has only real elements"):
        split_metas(cfg, store, "test", ["FVFA"])


def test_short_clips_are_batched_with_windows(tmp_path):
    """All fields of a batch have the shapes of windows; the label is that of the clip's own seconds."""
    rng = np.random.default_rng(0)
    with ElementWriter(tmp_path, {}) as writer:
        for name, count, seconds in (("short", 26, 1.04), ("window", 77, 3.072)):
            samples = rng.uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)
            mjpeg = b"".join(encode_frame(np.full((224, 224, 3), 3 * k, np.uint8), 90) for k in range(count))
            clip = dict.fromkeys(("source", "base", "sha256"), name) | {"tier": "RVFA", "identities": [name]}
            clip["audio_fake_periods"] = "[[1.5, 2.0]]"
            parts = {"wav": encode_wav(samples, 16_000), "mjpeg": mjpeg}
            writer.add(clip, [{"start": 0.0, "end": seconds, "parts": parts}])
    store = ElementStore(tmp_path)
    batch = ElementSet(store, store.metas, Inputs(image_size=48)).batch([Draw(0, None), Draw(1, None)])
    assert batch.mel.shape == (2, 128, 768)
    assert batch.video.shape == (2, 3, 16, 48, 48)
    assert batch.label.tolist() == [0, 1]
    short = batch.video[0, 0, :, 0, 0].int()
    assert (short.diff() < 0).nonzero().flatten().tolist() == [4, 10], "begins again after 1.04 and 2.08 s"


def test_batch_of_elements(cfg, store):
    metas = split_metas(cfg, store, "test")
    elements = ElementSet(store, metas, Inputs(image_size=48))
    batch = elements.batch([Draw(i, None) for i in range(len(metas))])
    assert batch.mel.shape == (len(metas), 128, 768)
    assert batch.video.shape == (len(metas), 3, 16, 48, 48)
    assert batch.video.dtype == torch.uint8
    assert batch.label.tolist() == [float(m.label) for m in metas]
    parts = dict(zip([m.tier for m in metas], batch.fake_modalities.tolist(), strict=True))
    assert parts == {"RVRA": [0, 0], "RVFA-VC": [1, 0], "FVRA": [0, 1]}
    classes = dict(zip([m.tier for m in metas], batch.audio_class.tolist(), strict=True))
    assert classes == {"RVRA": 0, "RVFA-VC": 2, "FVRA": -1}


def test_a_window_is_trained_on_by_its_own_label(cfg, store):
    """Three windows of one fake: its audio alone, its video alone, and neither of them is fake."""
    of_clip = {"audio_fake_periods": "[[0, 1]]", "visual_fake_periods": "[[3, 4]]"}
    windows = [(0.0, 2.0), (2.0, 5.0), (5.0, 8.0)]

    def raw(tier, start, end):
        meta = replace(store.metas[0], tier=tier, start=start, end=end, **of_clip)
        element = replace(store.read(store.metas[0].key, waveform=True, frames=range(77)), meta=meta)
        form = Inputs(None).raw(element)
        mrdf_raw = mrdf.Inputs(500).raw(element)
        vfd_raw = vfd.Inputs(2022, 64, train=True).raw(replace(element, frames=element.frames[list(FRAME_CHOICE)]))
        modalities = form.fake_modalities.tolist()
        assert modalities == [mrdf_raw.label_audio, mrdf_raw.label_video] == [vfd_raw.fake_voice, vfd_raw.fake_face]
        assert form.label == mrdf_raw.label == vfd_raw.label == max(modalities)
        return modalities, int(form.audio_class)

    assert [raw("FVFA", *times) for times in windows] == [([1, 0], -1), ([0, 1], -1), ([0, 0], -1)]
    assert [raw("RVFA", *times) for times in windows] == [([1, 0], 3), ([0, 0], 0), ([0, 0], 0)]
    element = store.read(store.metas[0].key, waveform=True, frames=range(77))
    unknown = mrdf.Inputs(500).raw(replace(element, meta=replace(store.metas[0], tier="FAKE")))
    assert (unknown.label, unknown.label_audio, unknown.label_video) == (1, -1, -1)


def test_out_of_sync_clip_is_labelled_as_fake_video(cfg, store):
    inputs = Inputs(image_size=32, synchrony=SynchronyConfig(out_of_step=1.0))
    metas = split_metas(cfg, store, "train")
    batch = ElementSet(store, metas, inputs).batch([Draw(i, (0, i)) for i in range(len(metas))])
    assert (batch.label == 1).all()
    parts = dict(zip([m.tier for m in metas], batch.fake_modalities.tolist(), strict=True))
    assert parts == {"RVRA": [0, 1], "RVFA-VC": [1, 0], "FVRA": [0, 1]}


def test_raw_batch_does_not_depend_on_augmentation(cfg, store):
    augment = AugmentConfig(flip=1.0, mel_noise=1.0)
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=32, augment=augment))
    raw = elements.raw([3, 1])
    assert raw.frames.shape == (2, 16, 224, 224, 3)
    stored = store.read(elements.metas[1].key, waveform=True, frames=FRAME_CHOICE)
    assert torch.equal(raw.frames[1], torch.from_numpy(stored.frames))
    assert torch.equal(raw.audio[1], torch.from_numpy(stored.mel))
    plain, augmented = (elements.prepare(raw, [Draw(3, seed), Draw(1, seed)]) for seed in (None, (0,)))
    assert torch.equal(plain.video.flip(-1), augmented.video)
    assert not torch.equal(plain.mel, augmented.mel)


def test_mel_is_computed_from_the_waveform(cfg, store):
    """As on a GPU, which is sent the waveform, a quarter of the bytes."""
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None))
    mel = elements.raw([0, 5])
    wave = elements.raw([0, 5], elements.inputs.reads._replace(mel=False, waveform=True))
    assert store.has_waveforms
    assert wave.audio.dtype == torch.int16
    assert 4 * wave.audio.nbytes == mel.audio.nbytes
    torch.testing.assert_close(elements.inputs.prepare(wave, None).mel, elements.inputs.prepare(mel, None).mel)


def test_waveform_input_is_read_unchanged(cfg, store):
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None, audio="waveform"))
    batch = elements.batch([Draw(2, None)])
    stored = store.read(elements.metas[2].key, waveform=True).waveform
    assert torch.equal(batch.mel, torch.from_numpy(stored)[None])


def test_batch_without_video(cfg, store):
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None))
    assert elements.batch([Draw(0, None)]).video is None


def test_mouth_shape_of_elements(tmp_path, cfg, store):
    with ElementWriter(tmp_path, SETTINGS) as writer:
        for seed in (0, 1):
            writer.add(clip(f"{seed}.mp4"), [with_landmarks(WINDOWS[seed], seed)])
    with_them = ElementStore(tmp_path)
    inputs = Inputs(image_size=32, shape=True, augment=AugmentConfig(flip=1.0))
    elements = ElementSet(with_them, with_them.metas, inputs)
    batch = elements.batch([Draw(1, (0, 1)), Draw(0, (0, 0))])
    for row, seed in enumerate((1, 0)):
        stored = with_them.read(with_them.metas[seed].key, mel=False, landmarks=True).landmarks
        np.testing.assert_array_equal(batch.shape[row], mouth_shape(stored))
    assert [one.shape for one in batch.model_inputs] == [(2, 128, 768), (2, 3, 16, 32, 32), (2, 77, 120)]
    alone = ElementSet(with_them, with_them.metas, Inputs(None, shape=True)).batch([Draw(0, None)])
    assert [one.shape for one in alone.model_inputs] == [(1, 128, 768), (1, 77, 120)]
    with pytest.raises(UserError, match=r"has no landmarks: add landmarks to media\.keep and run data/preprocess\.py"):
        ElementSet(store, store.metas, inputs)
