"""Inputs of AV-HuBERT from elements, and what its cached features depend on."""

import numpy as np
import pytest
import torch

from avdfd.baselines.avhubert_inputs import (
    AvHubertPart,
    Inputs,
    given,
    preview,
)
from avdfd.config import AvHubertConfig
from avdfd.datasets.loaders import Batch as CachedBatch
from avdfd.datasets.loaders import prepare, stack
from avdfd.elements import Element, ElementStore
from avdfd.features.filterbank import stacked_filterbank
from avdfd.features.mouth_crops import MIDDLE, mouth_crops
from avdfd.features.window import FRAMES, WINDOW
from avdfd.models.avhubert_features import Features
from avdfd.training.representations import build_avhubert
from tests.helpers.avhubert import SIZES
from tests.helpers.runs import landmarks_of

CPU = torch.device("cpu")


def element(seed=0):
    rng = np.random.default_rng(seed)
    waveform = rng.uniform(-0.5, 0.5, WINDOW).astype(np.float32)
    frames = rng.integers(0, 256, (FRAMES, 224, 224, 3), np.uint8)
    return Element(None, waveform, frames=frames, landmarks=landmarks_of(waveform))


def batch(*elements):
    return prepare(Inputs(), stack([Inputs().raw(one) for one in elements]), None)


def part(streams=("audio", "video"), seed=0, **changes):
    torch.manual_seed(seed)
    return AvHubertPart(build_avhubert(AvHubertConfig(file="none", **{**SIZES, **changes}), streams), "fp32", CPU)


def test_a_batch_has_the_middle_of_the_mouth_and_filter_banks():
    one = element()
    made = batch(one)
    assert np.array_equal(made.mouth[0, 0], mouth_crops(one.frames, one.landmarks)[:, 4:92, 4:92])
    assert torch.equal(made.audio[0].T, stacked_filterbank(torch.from_numpy(one.waveform), FRAMES))
    assert made.label.isnan().all(), "the element has no metadata"
    mouth, bank = given(made)
    assert (mouth.dtype, mouth.shape) == (torch.float32, (1, 1, FRAMES, MIDDLE, MIDDLE))
    torch.testing.assert_close(mouth[0, 0, 3, 5, 7].item(), (made.mouth[0, 0, 3, 5, 7].item() / 255 - 0.421) / 0.165)
    assert bank is made.audio
    audio, video = preview(made)
    assert (audio.shape, video.shape) == ((1, 104, FRAMES), (1, 3, FRAMES, MIDDLE, MIDDLE))


def test_an_impulse_moves_exactly_its_frame():
    one, other = element(), element()
    other.frames[30] = 255 - other.frames[30]
    other.landmarks[:] = one.landmarks
    other.waveform[640 * 20 + 300] += 0.4
    before, after = batch(one), batch(other)
    assert (before.mouth != after.mouth).flatten(3).any(dim=3)[0, 0].nonzero().flatten().tolist() == [30]
    moved = (before.audio - after.audio).abs().amax(dim=1)[0]
    assert moved.argmax() in (19, 20), "windows of 25 ms reach back beyond the step"
    assert set(moved.gt(1e-4).nonzero().flatten().tolist()) <= {19, 20}


def test_clips_do_not_depend_on_the_batch():
    elements = [element(seed) for seed in range(3)]
    together = batch(*elements)
    for number, one in enumerate(elements):
        alone = batch(one)
        assert torch.equal(alone.mouth[0], together.mouth[number])
        assert torch.equal(alone.audio[0], together.audio[number])


def test_cached_features_take_the_place_of_the_inputs():
    features = Features(audio=torch.zeros(1, FRAMES, 4))
    cached = CachedBatch(None, None, *torch.zeros(3, 1), cached=features)
    assert given(cached) is features
    assert preview(cached) == (None, None)


def test_cached_features_are_those_of_the_model():
    made, frozen = batch(element()), part(["audio"])
    kept = frozen(*made.model_inputs)
    assert kept.video is None
    torch.testing.assert_close(kept.audio.float(), frozen.model(given(made)).audio, rtol=1e-3, atol=1e-3)
    formats = frozen.row_formats()
    assert {name: row.shape for name, row in formats.items()} == {"audio": (FRAMES, SIZES["dim"])}
    assert formats["audio"].dtype == "float16"


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"streams": ("audio",)}, {"layer": 1}, {"heads": 2}], ids=lambda change: next(iter(change))
)
def test_another_model_has_other_features(change, small_store):
    store = ElementStore(small_store / "elements")
    assert part().identity(store) == part().identity(store)
    assert part(**change).identity(store) != part().identity(store)
