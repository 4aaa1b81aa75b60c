"""What a front makes of elements, kept in place of their sound."""

import pytest
import torch

from avdfd.config import DataConfig, PretrainConfig
from avdfd.datasets.batches import Feed
from avdfd.datasets.cached_patches import Heard, heard
from avdfd.datasets.loaders import ElementSet, Inputs, split_metas
from avdfd.datasets.samplers import Paired, Shared
from avdfd.elements import ElementStore
from avdfd.features.patches import Front, Patches
from tests.helpers.runs import make_store

CPU = torch.device("cpu")
FRONTS = {
    "mel": Front(statistics=True),
    "waveform": Front(statistics=True, spectra=(1024,)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    return DataConfig(elements=str(root / "elements"), splits=str(root / "splits"), fake_tiers=["RVFA"])


@pytest.mark.parametrize("audio", FRONTS)
@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_what_the_front_makes_of_the_batch(audio, workers, data, monkeypatch):
    made = []
    raw = Heard.raw
    monkeypatch.setattr(Heard, "raw", lambda self, element: made.append(element.meta.key) or raw(self, element))
    store, front, inputs = ElementStore(data.elements), FRONTS[audio], Inputs(None, audio=audio)
    metas = split_metas(PretrainConfig(name="x", data=data), store, "train")
    plain, kept = ElementSet(store, metas, inputs), ElementSet(store, metas, Heard(inputs, front))
    order, again = (Shared(Paired(metas, 2, seed=1, source="s")) for _ in range(2))
    feed = Feed(kept, order, CPU, workers=workers, place="memory")
    for epoch in range(2):
        order.start(epoch, 0)
        again.start(epoch, 0)
        for (_, batch), (_, expected) in zip(feed, Feed(plain, again, CPU), strict=True):
            sound = heard(expected)
            assert sound is expected.mel
            patches = heard(batch)
            assert isinstance(patches, Patches)
            torch.testing.assert_close(patches.values, front(sound).values)
            assert torch.equal(batch.label, expected.label)
            assert torch.equal(batch.audio_class, expected.audio_class)
    if workers == 0:
        assert len(made) == 1 + len(set(made)), "once for each, and once for the shapes"
