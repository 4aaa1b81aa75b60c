"""Batches of an epoch do not depend on where elements are kept, on loader processes, or on the number of processes."""

import threading

import pytest
import torch

from avdfd.baselines import avff, mrdf, vfd
from avdfd.config import AugmentConfig, AvffConfig, DataConfig, MrdfConfig, VfdConfig
from avdfd.core.errors import UserError
from avdfd.datasets import residency
from avdfd.datasets.batches import Batches, open_batches, reads_on
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Draw, Paired, Sequential, Shared, Shuffled
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.features.patches import Front, Patches

CPU = torch.device("cpu")
AUGMENT = AugmentConfig(flip=0.5, shift=20, brightness=0.2, mel_noise=0.2, mel_tilt=0.1, time_mask=50)


@pytest.fixture(scope="module")
def cfg(small_store):
    root = small_store
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
def audio(store, metas):
    return ElementSet(store, metas, Inputs(None, AUGMENT))


@pytest.fixture(scope="module")
def video(store, metas):
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
def test_places_and_workers_change_nothing(audio, video, orders, place, workers):
    shuffled, paired, sequential = zip(orders(), orders(), strict=True)
    for elements, (order, again) in ((video, shuffled), (audio, paired), (audio, sequential)):
        plain = Batches(elements, order, CPU)
        other = Batches(elements, again, CPU, workers=workers, place=place)
        for number in range(2):
            same(epoch(plain, number), epoch(other, number))


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_epoch_resumes_in_its_middle(audio, orders, place):
    for order, again in zip(orders(), orders(), strict=True):
        whole, rest = Batches(audio, order, CPU), Batches(audio, again, CPU, place=place)
        assert len(rest) == len(whole) == len(epoch(whole, 2))
        same(epoch(whole, 2)[1:], epoch(rest, 2, first=1))
        same(epoch(whole, 3), epoch(rest, 3))


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_processes_together_have_the_batches_of_one(audio, orders, place):
    for whole, *divided in zip(orders(), *(orders(rank=rank, size=2) for rank in range(2)), strict=True):
        one = epoch(Batches(audio, whole, CPU), 1)
        parts = [epoch(Batches(audio, order, CPU, place=place), 1) for order in divided]
        for (share, batch), *shares in zip(one, *parts, strict=True):
            for expected, *pieces in zip(batch, *(piece for _, piece in shares), strict=True):
                joined = None if expected is None else torch.stack(pieces, dim=1).flatten(0, 1)[: share.total]
                assert joined is expected is None or torch.equal(expected, joined)


def test_another_thread_prepares_elements_in_memory(audio, orders, monkeypatch):
    threads, original = set(), ElementSet.prepare
    monkeypatch.setattr(ElementSet, "prepare", lambda *of: threads.add(threading.current_thread()) or original(*of))
    data = Batches(audio, orders()[0], CPU, place="memory")
    batches = iter(data)
    next(batches)
    batches.close()  # as when a signal ends an epoch
    assert threads
    assert threads.isdisjoint(threading.enumerate())


def test_elements_in_memory_are_read_once(audio, metas, monkeypatch):
    read = []
    original = ElementSet.raw
    monkeypatch.setattr(ElementSet, "raw", lambda self, at, *rest: read.extend(at) or original(self, at, *rest))
    data = Batches(audio, Shared(Shuffled(len(metas), 3, seed=0)), CPU, place="memory")
    read.clear()
    for number in range(3):
        epoch(data, number)
    assert sorted(read) == list(range(len(metas)))
    read.clear()
    half = Batches(audio, Shared(Sequential(len(metas), 4), rank=1, size=2), CPU, place="memory")
    read.clear()
    for _ in range(3):
        epoch(half)
    assert sorted(read) == [i for i in range(len(metas)) if i % 2], "the other process reads the others"


BASELINES = {
    "avff": (avff, AvffConfig, {"image_size": 32, "audio_length": 128}),
    "avff, filter bank": (avff, AvffConfig, {"image_size": 32, "audio_length": 128, "audio_input": "fbank"}),
    "mrdf": (mrdf, MrdfConfig, {}),
    "vfd 2022": (vfd, VfdConfig, {"image_size": 32}),
    "vfd 2023": (vfd, VfdConfig, {"image_size": 32, "year": 2023}),
}


@pytest.mark.parametrize("name", BASELINES)
def test_batches_of_baselines(name, store, metas, cfg):
    """A clip does not depend on its batch or where it is kept; another epoch has another augmentation."""
    system, kind, model = BASELINES[name]
    augment = {"flip": 0.5, "shift": 20, "mel_noise": 0.2}
    config = kind.model_validate({"name": "x", "data": cfg.model_dump(), "model": model, "augment": augment})
    if kind is AvffConfig:
        config = config.model_copy(update={"faithful": True})  # rolls the audio
    draws = [Draw(position, (9, position)) for position in (2, 0, 1)]
    elements = ElementSet(store, metas[:3], system.inputs(config, system.STAGES[-1], train=True))
    batch = elements.batch(draws)
    for i, draw in enumerate(draws):
        for together, alone in zip(batch, elements.batch([draw]), strict=True):
            assert together is alone is None or torch.allclose(together[i].float(), alone[0].float(), atol=1e-5)
    kept = Batches(elements, Shared(Shuffled(3, 3, seed=0)), CPU, place="memory")
    (share, batch), again = epoch(kept)[0], epoch(kept)[0][1]
    for ours, theirs, fresh in zip(batch, again, elements.batch(share.draws), strict=True):
        assert ours is None or (torch.equal(ours, theirs) and torch.equal(ours, fresh))
    others = epoch(kept, 1)[0][1]
    assert not torch.equal(batch[0], others[0])


def test_place_follows_config_and_memory(cfg, audio, video, metas, monkeypatch):
    def places(home, *sets, device=CPU):
        order = Shared(Sequential(len(metas), 4))
        made = open_batches(cfg.model_copy(update={"home": home}), device, *((elements, order) for elements in sets))
        return [data.place for data in made]

    assert places("auto", audio, audio) == ["memory", "memory"]
    assert places("auto", video, audio) == ["disk", "disk"]
    assert places("memory", video) == ["memory"]
    assert places("disk", audio) == ["disk"]
    with pytest.raises(UserError, match="data.home 'gpu': this run uses the cpu"):
        places("gpu", audio)
    mels = 2 * len(metas) * 4 * 128 * 768
    monkeypatch.setattr(residency, "available_memory", lambda: 2 * mels + 1000)
    assert places("auto", audio, audio) == ["memory", "memory"]
    monkeypatch.setattr(residency, "available_memory", lambda: 2 * mels - 1000)
    assert places("auto", audio, audio) == ["disk", "disk"]


def test_str_names_where_elements_are(audio, metas):
    order = Shared(Sequential(len(metas), 4))
    assert str(Batches(audio, order, CPU, workers=2)) == "on disk, read by 2 loader processes"
    assert str(Batches(audio, order, CPU, place="memory")) == "0.00 GB in memory"


def test_gpu_reads_waveforms(audio, video, store, metas):
    """A waveform has a quarter of the bytes of its mel; mel_err cannot be computed from it."""
    cuda = torch.device("cuda")
    for elements in (audio, video):
        assert reads_on(elements, cuda) == elements.inputs.reads._replace(mel=False, waveform=True)
        assert reads_on(elements, CPU) == elements.inputs.reads
    other = ElementSet(store, metas, Inputs(None, audio="mel_err"))
    assert reads_on(other, cuda) == other.inputs.reads


FRONTS = {"mel": Front(statistics=True), "waveform": Front(statistics=True, spectra=(1024,))}


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("workers", [0, 2])
def test_patches_are_kept_in_place_of_the_audio(name, workers, store, metas, monkeypatch):
    computed = []
    raw = Inputs.raw
    monkeypatch.setattr(Inputs, "raw", lambda self, element: computed.append(element.meta.key) or raw(self, element))
    plain, front = Inputs(None, audio=name), FRONTS[name]
    order, again = (Shared(Paired(metas, 2, seed=1, source="s")) for _ in range(2))
    kept = Batches(ElementSet(store, metas, plain._replace(front=front)), order, CPU, workers=workers, place="memory")
    epochs = [epoch(kept, number) for number in range(2)]
    if workers == 0:
        assert len(computed) == 1 + len(set(computed)), "once per element, and once for the shapes"
    expected = Batches(ElementSet(store, metas, plain), again, CPU)
    for number, batches in enumerate(epochs):
        for (_, ours), (_, theirs) in zip(batches, epoch(expected, number), strict=True):
            (patches,), (audio,) = ours.model_inputs, theirs.model_inputs
            assert ours.mel is None
            assert audio is theirs.mel
            assert isinstance(patches, Patches)
            torch.testing.assert_close(patches.values, front(audio).values)
            assert torch.equal(ours.label, theirs.label)
            assert torch.equal(ours.audio_class, theirs.audio_class)


def test_patches_from_disk_pass_through_loader_processes(store, metas):
    elements = ElementSet(store, metas, Inputs(None, front=FRONTS["mel"]))
    order, again = (Shared(Sequential(len(metas), 3)) for _ in range(2))
    one, other = (epoch(Batches(elements, o, CPU, workers=w)) for o, w in ((order, 0), (again, 2)))
    assert [len(batch.cached.values) for _, batch in one] == [len(share.draws) for share, _ in one]
    for (_, ours), (_, theirs) in zip(one, other, strict=True):
        assert torch.equal(ours.cached.values, theirs.cached.values)
