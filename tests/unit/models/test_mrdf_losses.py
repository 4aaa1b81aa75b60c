"""Vectorised losses against plain loops, and the total of each variant."""

import pytest
import torch
import torch.nn.functional as F

from avdfd.models.mrdf import MrdfOutput
from avdfd.models.mrdf_losses import Labels, contrast_loss, margin_loss, mrdf_loss

LABELS = Labels(v=torch.tensor([1, 0, 1, 0, 1, 1]), a=torch.tensor([1, 1, 0, 0, 1, 0]))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(x, y):
    return (x @ y) / (x.norm() * y.norm())


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_margin_loss_is_the_mean_over_all_ordered_pairs(margin):
    x, labels = normal(6, 5), LABELS.a
    terms = []
    for i in range(6):
        for j in range(6):
            d = cosine(x[i], x[j])
            terms.append(1 - d if labels[i] == labels[j] else max(d - margin, torch.tensor(0.0)))
    torch.testing.assert_close(margin_loss(x, labels, margin), torch.stack(terms).mean())


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_contrast_loss_is_the_mean_over_clips(margin):
    video, audio, real = normal(6, 5), normal(6, 5, seed=1), LABELS.m
    terms = []
    for i in range(6):
        d = cosine(video[i], audio[i])
        terms.append(1 - d if real[i] else max(d - margin, torch.tensor(0.0)))
    torch.testing.assert_close(contrast_loss(video, audio, real, margin), torch.stack(terms).mean())


def test_classes_of_a_clip():
    labels = Labels(v=torch.tensor([1, 0, 1, 0]), a=torch.tensor([1, 1, 0, 0]))
    assert labels.m.tolist() == [1, 0, 0, 0]
    assert labels.mm.tolist() == [0, 1, 2, 3]


def output(m=None, va=None):
    return MrdfOutput(
        m_logits=None if m is None else normal(6, m),
        v_cross=normal(6, 5, seed=1),
        a_cross=normal(6, 5, seed=2),
        v=None if va is None else normal(6, va, seed=3),
        a=None if va is None else normal(6, va, seed=4),
    )


def test_ce_sums_classification_and_contrast():
    out = output(m=2, va=2)
    losses = mrdf_loss(out, LABELS, "ce", margin_contrast=0.1)
    expected = {
        "mm_loss": F.cross_entropy(out.m_logits, LABELS.m),
        "audio_loss": F.cross_entropy(out.a, LABELS.a),
        "visual_loss": F.cross_entropy(out.v, LABELS.v),
        "contrast_loss": contrast_loss(out.v_cross, out.a_cross, LABELS.m, 0.1),
    }
    torch.testing.assert_close(losses, {"loss": sum(expected.values()), **expected})


def test_margin_has_a_margin_per_modality():
    out = output(m=2, va=5)
    losses = mrdf_loss(out, LABELS, "margin", margin_audio=0.1, margin_visual=0.3)
    expected = {
        "mm_loss": F.cross_entropy(out.m_logits, LABELS.m),
        "audio_loss": margin_loss(out.a, LABELS.a, 0.1),
        "visual_loss": margin_loss(out.v, LABELS.v, 0.3),
        "contrast_loss": contrast_loss(out.v_cross, out.a_cross, LABELS.m),
    }
    torch.testing.assert_close(losses, {"loss": sum(expected.values()), **expected})


def test_ablations():
    plain = output(m=2)
    torch.testing.assert_close(mrdf_loss(plain, LABELS, "plain")["loss"], F.cross_entropy(plain.m_logits, LABELS.m))
    both = F.binary_cross_entropy(plain.m_logits.sigmoid(), torch.stack([LABELS.a, LABELS.v], dim=1).float())
    torch.testing.assert_close(mrdf_loss(plain, LABELS, "multilabel")["loss"], both)
    four = output(m=4)
    torch.testing.assert_close(mrdf_loss(four, LABELS, "multiclass")["loss"], F.cross_entropy(four.m_logits, LABELS.mm))
    ensemble = output(va=2)
    expected = F.cross_entropy(ensemble.a, LABELS.a) + F.cross_entropy(ensemble.v, LABELS.v)
    losses = mrdf_loss(ensemble, LABELS, "ensemble")
    torch.testing.assert_close(losses["loss"], expected)
    assert losses.keys() == {"loss", "audio_loss", "visual_loss"}


@pytest.mark.parametrize("variant", ["ce", "margin"])
def test_half_precision_outputs_give_a_full_precision_loss(variant):
    out = output(m=2, va=2)
    half = MrdfOutput(*(x.bfloat16() for x in out))
    losses = mrdf_loss(half, LABELS, variant)
    assert {x.dtype for x in losses.values()} == {torch.float32}
    torch.testing.assert_close(losses["loss"], mrdf_loss(out, LABELS, variant)["loss"], rtol=2e-2, atol=2e-2)
