"""Elements of a split as batches."""

import pytest
import torch

from avdfd.config import AugmentConfig, PretrainConfig, SynchronyConfig, parse
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import ElementSet, Inputs, split_metas
from avdfd.datasets.samplers import Draw
from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import ElementStore


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


def test_tier_without_elements_is_refused(cfg, store):
    with pytest.raises(UserError, match="split 'test' has only real elements"):
        split_metas(cfg, store, "test", ["FVFA"])


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
