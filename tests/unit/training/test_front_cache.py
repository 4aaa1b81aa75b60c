"""Cached hidden states of a pretrained encoder: their values, and the key of the cache."""

from pathlib import Path
from typing import Any

import pytest
import torch

from avdfd.datasets.loaders import Inputs
from avdfd.elements import ElementStore
from avdfd.training import backbone_cache
from avdfd.training.front_cache import FrozenFront
from tests.helpers.encoders import WAVLM, WHISPER, encoder_of
from tests.helpers.runs import make_store

Values = dict[str, Any]
Files = dict[str, Path]

STATISTICS: Values = {"patches": "statistics", "spectra": [256]}


def test_cached_features_are_the_computed_ones(tmp_path: Path, encoders: Files):
    store = ElementStore(make_store(tmp_path) / "elements")
    encoder = encoder_of(WHISPER, encoders, {"patches": "statistics", "spectra": [256]}, layers=[0, 2])
    frozen = FrozenFront(encoder, Inputs(None, audio="waveform"), "fp32", torch.device("cpu"))
    cache = backbone_cache.open_cache(store, frozen)
    backbone_cache.fill(cache, store.metas.rows, store, frozen)
    audio = torch.from_numpy(store.read(store.metas[3].key, waveform=True, mel=False).waveform)[None].float()
    hidden = frozen(audio)
    assert hidden.states.dtype == torch.float16
    row = store.metas.rows[3]
    torch.testing.assert_close(cache.array("states")[row], hidden.states[0], rtol=2e-3, atol=1e-3)
    assert hidden.statistics is not None
    torch.testing.assert_close(cache.array("statistics")[row], hidden.statistics[0])
    other = frozen._replace(
        model=encoder_of(WHISPER, encoders, {"patches": "statistics", "spectra": [256]}, layers=[1, 2])
    )
    assert backbone_cache.open_cache(store, other).root != cache.root


@pytest.mark.parametrize(
    ("front", "more", "of_model"),
    [
        (WAVLM, {}, {}),
        (WHISPER, {"layers": [1, 2]}, {}),
        (WHISPER, {"layers": [2]}, {}),
        (WHISPER, {"rate": 25}, {}),
        (WHISPER, {"sizes": {**WHISPER["sizes"], "heads": 4}}, {}),
        (WHISPER, {}, STATISTICS),
        (WHISPER, {}, {**STATISTICS, "spectra": [512]}),
        (WHISPER, {}, {**STATISTICS, "patch_frames": 32}),
        (WHISPER, {"layers": "learned"}, {}),
        *((WHISPER, {"head": head}, {}) for head in ("attentive", "sls", "graph")),
        (WHISPER, {"embed": True}, {}),
        (WHISPER, {}, {"depth": 2, "dim": 32, "dropout": 0.5, "projection_dim": 4}),
        (WHISPER, {}, {"score": "fitted"}),
        (WHISPER, {"weighting": "loudness"}, {"score": "fitted"}),
    ],
    ids=lambda value: value.get("arch") or str(value),
)
def test_the_cache_has_another_key_exactly_if_it_has_other_content(
    front: Values, more: Values, of_model: Values, small_store: Path, encoders: Files
):
    store = ElementStore(small_store / "elements")
    audio = torch.randn(1, 49_152, generator=torch.Generator().manual_seed(5)) / 10
    base, *others = (
        FrozenFront(encoder, Inputs(None, audio="waveform"), "fp32", torch.device("cpu"))
        for encoder in (
            encoder_of(WHISPER, encoders),
            encoder_of(WHISPER, encoders, STATISTICS),
            encoder_of(front, encoders, of_model, **more),
        )
    )
    changed = others.pop()
    for other in (base, *others):
        ours, theirs = (
            [x.flatten().tolist() for x in part(audio) if x is not None] + [part.row_formats()]
            for part in (changed, other)
        )
        assert (changed.identity(store) == other.identity(store)) == (ours == theirs)


def test_another_file_has_another_cache(small_store: Path, encoders: Files, tmp_path: Path):
    store = ElementStore(small_store / "elements")
    moved, other = tmp_path / "moved.pt", tmp_path / "other.pt"
    moved.write_bytes(encoders["tiny"].read_bytes())
    weights_of_other = torch.load(encoders["tiny"])
    weights_of_other["encoder.conv1.bias"] += 1
    torch.save(weights_of_other, other)
    ours, same, theirs = (
        FrozenFront(
            encoder_of(WHISPER, {"tiny": path}), Inputs(None, audio="waveform"), "fp32", torch.device("cpu")
        ).identity(store)
        for path in (encoders["tiny"], moved, other)
    )
    assert ours == same
    assert ours != theirs
