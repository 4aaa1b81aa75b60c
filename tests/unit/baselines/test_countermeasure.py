"""Inputs and losses of the countermeasures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avdfd.baselines import countermeasure
from avdfd.baselines.countermeasure import Inputs, Outputs, fitted
from avdfd.config import CountermeasureConfig, parse
from avdfd.core.errors import UserError
from avdfd.datasets.loaders import prepare, stack
from avdfd.elements import Element
from tests.helpers.runs import data_section


def config(tmp_path, **values):
    return parse({"name": "x", "data": data_section(tmp_path, "RVFA"), **values}, CountermeasureConfig, "test")


def element(samples, meta=None):
    return Element(waveform=np.arange(samples, dtype=np.float32) / 32_768, meta=meta)


def test_short_audio_is_repeated_and_long_audio_cut():
    audio = torch.arange(5)
    assert fitted(audio, 12, None).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert fitted(audio, 5, None).tolist() == [0, 1, 2, 3, 4]
    assert fitted(audio, 3, None).tolist() == [0, 1, 2]
    starts = {fitted(audio, 3, np.random.default_rng(seed)).tolist()[0] for seed in range(30)}
    assert starts == {0, 1, 2}


def test_clips_of_a_batch_have_their_own_length():
    form = Inputs(4_000)
    raw = stack([form.raw(element(samples)) for samples in (1_500, 5_000)])
    batch = prepare(form, raw, None)
    assert batch.waveform.shape == (2, 4_000)
    expected = [np.resize(np.arange(1_500), 4_000), np.arange(4_000)]
    np.testing.assert_array_equal(batch.waveform * 32_768, expected)
    assert batch.label.isnan().all()
    moved = prepare(form, raw, [(0, 1), (0, 2)]).waveform * 32_768
    assert moved[1, 0] > 0
    assert torch.equal(moved[0], batch.waveform[0] * 32_768), "repeated audio starts with the clip"


def test_real_audio_under_a_fake_face_is_trained_on_as_real(store):
    from avdfd.elements import ElementStore

    elements = ElementStore(store / "elements")
    form = Inputs(4_000)
    labels = {}
    for meta in elements.metas:
        raw = form.raw(elements.read(meta.key, waveform=True, mel=False))
        labels[meta.tier] = (float(raw.label), float(raw.fake_audio))
    assert labels == {"RVRA": (0, 0), "RVFA": (1, 1), "FVRA": (1, 0), "RVFA-VC": (1, 1)}
    some = elements.read(elements.metas[0].key, waveform=True, mel=False)
    assert float(form.raw(replace(some, meta=None)).fake_audio) == 1


@pytest.mark.parametrize("weight", [0.9, 0.5])
def test_the_loss_is_the_published_weighted_cross_entropy(tmp_path, weight):
    cfg = config(tmp_path, loss={"real_weight": weight})
    logits = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    fake = torch.tensor([1.0, 0, 1, 1, 0, 1, 1])
    out = Outputs(logits[:, 0] - logits[:, 1], fake)
    expected = F.cross_entropy(logits, 1 - fake.long(), weight=torch.tensor([1 - weight, weight]))
    torch.testing.assert_close(countermeasure.losses(None, out, cfg, "train")["loss"], expected)


def test_scores_grow_with_the_logit_of_fake(tmp_path):
    batch = countermeasure.Batch(torch.zeros(1, 4_000), torch.zeros(1), torch.zeros(1))
    two, one = lambda _: torch.tensor([[1.0, 3.0]]), lambda _: torch.tensor([[3.0]])

    def score(network, **values):
        return float(countermeasure.scores(network, batch, config(tmp_path, **values))["audio"])

    assert score(two) == -2
    assert score(two, faithful=True) == -3, "AASIST's score is its logit of real alone"
    assert score(two, faithful=True, model={"arch": "rawnet2"}) == -2
    assert score(one, model={"arch": "lfcc-lcnn"}) == -3


def test_changes_that_the_input_has_no_place_for_are_refused(tmp_path):
    with pytest.raises(UserError, match="augment"):
        config(tmp_path, augment={"mel_noise": 0.1})
    with pytest.raises(UserError, match="micro_batch"):
        config(tmp_path, train={"micro_batch": 2})
    with pytest.raises(UserError, match="samples"):
        config(tmp_path, model={"samples": 1_000})
