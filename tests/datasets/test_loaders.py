"""Batches of elements."""

import pytest
import torch

from avdfd.config import AugmentConfig, PretrainConfig, parse
from avdfd.datasets.loaders import ElementSet, Inputs, loader, split_metas
from avdfd.datasets.samplers import Draw, Sequential, Shuffled
from avdfd.elements import ElementStore
from avdfd.errors import UserError
from tests.runs import make_store


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


def test_batches(cfg, store):
    metas = split_metas(cfg, store, "test")
    elements = ElementSet(store, metas, Inputs(image_size=48))
    batches = list(loader(elements, Sequential(len(elements), 4), 0, torch.device("cpu")))
    assert sum(len(b.label) for b in batches) == len(metas)
    first = batches[0]
    assert first.mel.shape == (4, 128, 768)
    assert first.video.shape == (4, 3, 16, 48, 48)
    assert first.video.dtype == torch.uint8
    labels = torch.cat([b.label for b in batches])
    assert labels.tolist() == [float(m.label) for m in metas]
    classes = dict(zip([m.tier for m in metas], torch.cat([b.audio_class for b in batches]).tolist(), strict=True))
    assert classes == {"RVRA": 0, "RVFA-VC": 2, "FVRA": -1}


def test_an_element_set_without_video(cfg, store):
    elements = ElementSet(store, split_metas(cfg, store, "test"), Inputs(image_size=None))
    assert elements[Draw(0, None)].video is None


def test_an_epoch_does_not_depend_on_the_workers(cfg, store):
    inputs = Inputs(image_size=32, augment=AugmentConfig(flip=0.5, mel_noise=0.2))
    elements = ElementSet(store, split_metas(cfg, store, "train"), inputs)

    def epoch(workers):
        return list(loader(elements, Shuffled(len(elements), 4, seed=1), workers, torch.device("cpu")))

    for alone, helped in zip(epoch(0), epoch(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
