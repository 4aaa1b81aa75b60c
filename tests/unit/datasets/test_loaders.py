"""Elements as batches."""

import pytest
import torch

from avdfd.config import AugmentConfig, PretrainConfig, SynchronyConfig, parse
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import ElementSet, Inputs, split_metas
from avdfd.datasets.samplers import Draw
from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import ElementStore
from tests.helpers.runs import make_store


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def store(data):
    return ElementStore(data / "elements")


@pytest.fixture
def cfg(data):
    elements = {"elements": str(data / "elements"), "splits": str(data / "splits"), "fake_tiers": ["RVFA-VC", "FVRA"]}
    return parse({"name": "x", "data": elements}, PretrainConfig, "test")


def test_split_and_tiers(cfg, store):
    metas = split_metas(cfg, store, "validation")
    assert {m.tier for m in metas} == {"RVRA", "RVFA-VC", "FVRA"}
    assert {m.identities for m in metas} == {("id3",), ("id4",)}
    assert {m.tier for m in split_metas(cfg, store, "validation", ["RVFA"])} == {"RVRA", "RVFA"}


def test_a_tier_without_elements(cfg, store):
    with pytest.raises(UserError, match="split 'test' has only real elements"):
        split_metas(cfg, store, "test", ["FVFA"])


def test_a_batch(cfg, store):
    metas = split_metas(cfg, store, "test")
    elements = ElementSet(store, metas, Inputs(image_size=48))
    batch = elements.batch([Draw(i, None) for i in range(len(metas))])
    assert batch.mel.shape == (len(metas), 128, 768)
    assert batch.video.shape == (len(metas), 3, 16, 48, 48)
    assert batch.video.dtype == torch.uint8
    assert batch.label.tolist() == [float(m.label) for m in metas]
    parts = dict(zip([m.tier for m in metas], batch.parts.tolist(), strict=True))
    assert parts == {"RVRA": [0, 0], "RVFA-VC": [1, 0], "FVRA": [0, 1]}
    classes = dict(zip([m.tier for m in metas], batch.audio_class.tolist(), strict=True))
    assert classes == {"RVRA": 0, "RVFA-VC": 2, "FVRA": -1}


def test_a_clip_out_of_step_is_a_fake_of_its_pictures(cfg, store):
    inputs = Inputs(image_size=32, synchrony=SynchronyConfig(out_of_step=1.0))
    metas = split_metas(cfg, store, "train")
    batch = ElementSet(store, metas, inputs).batch([Draw(i, (0, i)) for i in range(len(metas))])
    assert (batch.label == 1).all()
    parts = dict(zip([m.tier for m in metas], batch.parts.tolist(), strict=True))
    assert parts == {"RVRA": [0, 1], "RVFA-VC": [1, 0], "FVRA": [0, 1]}


def test_what_is_read_does_not_depend_on_the_draw(cfg, store):
    augment = AugmentConfig(flip=1.0, mel_noise=1.0)
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=32, augment=augment))
    raw = elements.raw([3, 1])
    assert raw.frames.shape == (2, 16, 224, 224, 3)
    stored = store.read(elements.metas[1].key, waveform=True, frames=FRAME_CHOICE)
    assert torch.equal(raw.frames[1], torch.from_numpy(stored.frames))
    assert torch.equal(raw.sound[1], torch.from_numpy(stored.mel))
    plain, augmented = (elements.prepare(raw, [Draw(3, seed), Draw(1, seed)]) for seed in (None, (0,)))
    assert torch.equal(plain.video.flip(-1), augmented.video)
    assert not torch.equal(plain.mel, augmented.mel)


def test_the_waveform_in_place_of_the_mel(cfg, store):
    """What a GPU is sent, in a quarter of the bytes: the same mel comes of it."""
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None))
    mel = elements.raw([0, 5])
    wave = elements.raw([0, 5], elements.inputs.reads._replace(mel=False, waveform=True))
    assert store.has_waveforms
    assert wave.sound.dtype == torch.int16
    assert 4 * wave.sound.nbytes == mel.sound.nbytes
    torch.testing.assert_close(elements.inputs.prepare(wave, None).mel, elements.inputs.prepare(mel, None).mel)


def test_a_model_of_the_waveform(cfg, store):
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None, audio="waveform"))
    batch = elements.batch([Draw(2, None)])
    stored = store.read(elements.metas[2].key, waveform=True).waveform
    assert torch.equal(batch.mel, torch.from_numpy(stored)[None])


def test_an_element_set_without_video(cfg, store):
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None))
    assert elements.batch([Draw(0, None)]).video is None
