"""An epoch's batches are the same wherever their elements are, whoever reads them, and for any number of processes."""

import pytest
import torch

from avdfd.baselines import avff, mrdf, vfd
from avdfd.config import AugmentConfig, AvffConfig, DataConfig, MrdfConfig, VfdConfig
from avdfd.core.errors import UserError
from avdfd.datasets import residency
from avdfd.datasets.batches import Feed, feeds, reads_on
from avdfd.datasets.loaders import ElementSet, Inputs, split_metas
from avdfd.datasets.samplers import Draw, Paired, Sequential, Shared, Shuffled
from avdfd.elements import ElementStore
from tests.helpers.runs import make_store

CPU = torch.device("cpu")
AUGMENT = AugmentConfig(flip=0.5, shift=20, brightness=0.2, mel_noise=0.2, mel_tilt=0.1, time_mask=50)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    return DataConfig(
        elements=str(root / "elements"), splits=str(root / "splits"), fake_tiers=["RVFA"], workers=0, home="auto"
    )


@pytest.fixture(scope="module")
def store(cfg):
    return ElementStore(cfg.elements)


@pytest.fixture(scope="module")
def metas(cfg, store):
    return split_metas(VfdConfig(name="x", data=cfg), store, "train")


@pytest.fixture(scope="module")
def sound(store, metas):
    return ElementSet(store, metas, Inputs(None, AUGMENT))


@pytest.fixture(scope="module")
def pictures(store, metas):
    return ElementSet(store, metas, Inputs(32, AUGMENT))


def epoch(data, number=0, first=0):
    data.order.start(number, first)
    return list(data)


def same(one, other):
    assert len(one) == len(other) > 0
    for (share, batch), (share2, batch2) in zip(one, other, strict=True):
        assert share == share2
        for ours, theirs in zip(batch, batch2, strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.fixture
def orders(metas):
    def orders(**shared):
        return [
            Shared(Shuffled(len(metas), 3, seed=1), **shared),
            Shared(Paired(metas, 2, seed=1, source="s"), **shared),
            Shared(Sequential(len(metas), 3), **shared),
        ]

    return orders


@pytest.mark.parametrize(("place", "workers"), [("memory", 0), ("memory", 2), ("disk", 2)])
def test_places_and_workers_change_nothing(sound, pictures, orders, place, workers):
    shuffled, paired, sequential = zip(orders(), orders(), strict=True)
    for elements, (order, again) in ((pictures, shuffled), (sound, paired), (sound, sequential)):
        plain = Feed(elements, order, CPU)
        other = Feed(elements, again, CPU, workers=workers, place=place)
        for number in range(2):
            same(epoch(plain, number), epoch(other, number))


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_an_epoch_goes_on_in_its_middle(sound, orders, place):
    for order, again in zip(orders(), orders(), strict=True):
        whole, rest = Feed(sound, order, CPU), Feed(sound, again, CPU, place=place)
        assert len(rest) == len(whole) == len(epoch(whole, 2))
        same(epoch(whole, 2)[1:], epoch(rest, 2, first=1))
        same(epoch(whole, 3), epoch(rest, 3))


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_processes_have_the_batches_of_one_between_them(sound, orders, place):
    for whole, *parts in zip(orders(), *(orders(rank=rank, size=2) for rank in range(2)), strict=True):
        one = epoch(Feed(sound, whole, CPU), 1)
        columns = [epoch(Feed(sound, order, CPU, place=place), 1) for order in parts]
        for (share, batch), *shares in zip(one, *columns, strict=True):
            for column, *pieces in zip(batch, *(piece for _, piece in shares), strict=True):
                assert column is None or torch.equal(column, torch.stack(pieces, dim=1).flatten(0, 1)[: share.total])


def test_what_is_in_memory_is_read_once(sound, metas, monkeypatch):
    read = []
    original = ElementSet.raw
    monkeypatch.setattr(ElementSet, "raw", lambda self, at, *rest: read.extend(at) or original(self, at, *rest))
    data = Feed(sound, Shared(Shuffled(len(metas), 3, seed=0)), CPU, place="memory")
    read.clear()
    for number in range(3):
        epoch(data, number)
    assert sorted(read) == list(range(len(metas)))
    read.clear()
    half = Feed(sound, Shared(Sequential(len(metas), 4), rank=1, size=2), CPU, place="memory")
    read.clear()
    for _ in range(3):
        epoch(half)
    assert sorted(read) == [i for i in range(len(metas)) if i % 2], "another process reads the others"


BASELINES = {
    "avff": (avff, AvffConfig, {"image_size": 32, "audio_length": 128}),
    "avff, filter bank": (avff, AvffConfig, {"image_size": 32, "audio_length": 128, "audio_input": "fbank"}),
    "mrdf": (mrdf, MrdfConfig, {}),
    "vfd 2022": (vfd, VfdConfig, {"image_size": 32}),
    "vfd 2023": (vfd, VfdConfig, {"image_size": 32, "year": 2023}),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name, store, metas, cfg):
    """A clip does not depend on the batch, the place or the time; another epoch has another draw."""
    system, kind, model = BASELINES[name]
    augment = {"flip": 0.5, "shift": 20, "mel_noise": 0.2}
    config = kind.model_validate({"name": "x", "data": cfg.model_dump(), "model": model, "augment": augment})
    if kind is AvffConfig:
        config = config.model_copy(update={"faithful": True})  # rolls the sound
    draws = [Draw(position, (9, position)) for position in (2, 0, 1)]
    elements = ElementSet(store, metas[:3], system.inputs(config, system.STAGES[-1], train=True))
    batch = elements.batch(draws)
    for i, draw in enumerate(draws):
        for column, alone in zip(batch, elements.batch([draw]), strict=True):
            assert column is alone is None or torch.allclose(column[i].float(), alone[0].float(), atol=1e-5)
    kept = Feed(elements, Shared(Shuffled(3, 3, seed=0)), CPU, place="memory")
    (share, batch), again = epoch(kept)[0], epoch(kept)[0][1]
    for ours, theirs, fresh in zip(batch, again, elements.batch(share.draws), strict=True):
        assert ours is None or (torch.equal(ours, theirs) and torch.equal(ours, fresh))
    others = epoch(kept, 1)[0][1]
    assert not torch.equal(batch[0], others[0])


def test_the_place_of_a_run(cfg, sound, pictures, metas, monkeypatch):
    def places(home, *sets, device=CPU):
        order = Shared(Sequential(len(metas), 4))
        made = feeds(cfg.model_copy(update={"home": home}), device, *((elements, order) for elements in sets))
        return [data.place for data in made]

    assert places("auto", sound, sound) == ["memory", "memory"]
    assert places("auto", pictures, sound) == ["disk", "disk"]
    assert places("memory", pictures) == ["memory"]
    assert places("disk", sound) == ["disk"]
    with pytest.raises(UserError, match="data.home 'gpu': this run is on the cpu"):
        places("gpu", sound)
    mels = 2 * len(metas) * 4 * 128 * 768
    monkeypatch.setattr(residency, "available_memory", lambda: 2 * mels + 1000)
    assert places("auto", sound, sound) == ["memory", "memory"]
    monkeypatch.setattr(residency, "available_memory", lambda: 2 * mels - 1000)
    assert places("auto", sound, sound) == ["disk", "disk"]


def test_a_feed_says_where_its_elements_are(sound, metas):
    order = Shared(Sequential(len(metas), 4))
    assert str(Feed(sound, order, CPU, workers=2)) == "on the disk, read by 2 loader processes"
    assert str(Feed(sound, order, CPU, place="memory")) == "0.00 GB in memory"


def test_a_gpu_is_given_waveforms(sound, pictures, store, metas):
    """A quarter of the bytes of their mels; the reconstruction error cannot be made of them."""
    cuda = torch.device("cuda")
    for elements in (sound, pictures):
        assert reads_on(elements, cuda) == elements.inputs.reads._replace(mel=False, waveform=True)
        assert reads_on(elements, CPU) == elements.inputs.reads
    other = ElementSet(store, metas, Inputs(None, audio="mel_err"))
    assert reads_on(other, cuda) == other.inputs.reads
