"""Losses of MRDF and its ablations.

    B batch   D embedding   labels are one number per sample, here 1 = REAL, as released

References:
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.models.mrdf import MrdfOutput, Variant


class Labels(NamedTuple):
    """Labels of B clips, integers, 1 = real."""

    v: Tensor
    """(B,) of the video."""
    a: Tensor
    """(B,) of the audio."""

    @property
    def m(self) -> Tensor:
        """(B,) of the clip: real if both are."""
        return self.v * self.a

    @property
    def mm(self) -> Tensor:
        """(B,) class: 0 both real, 1 video fake, 2 audio fake, 3 both fake."""
        return (1 - self.v) + 2 * (1 - self.a)


def mrdf_loss(
    out: MrdfOutput,
    labels: Labels,
    variant: Variant,
    *,
    margin_contrast: float = 0.0,
    margin_audio: float = 0.0,
    margin_visual: float = 0.0,
) -> dict[str, Tensor]:
    """Return `loss`, the sum, and its terms: `mm_loss`, `audio_loss`, `visual_loss`, `contrast_loss`."""
    terms = {}
    if out.m_logits is not None:
        terms["mm_loss"] = fused_loss(out.m_logits, labels, variant)
    if out.a is not None and out.v is not None:
        if variant == "margin":
            terms["audio_loss"] = margin_loss(out.a, labels.a, margin_audio)
            terms["visual_loss"] = margin_loss(out.v, labels.v, margin_visual)
        else:
            terms["audio_loss"] = F.cross_entropy(out.a.float(), labels.a)
            terms["visual_loss"] = F.cross_entropy(out.v.float(), labels.v)
    if variant in ("ce", "margin"):
        terms["contrast_loss"] = contrast_loss(out.v_cross, out.a_cross, labels.m, margin_contrast)
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def fused_loss(m_logits: Tensor, labels: Labels, variant: Variant) -> Tensor:
    """Classification loss of the fused features: by label, by class (multiclass), or by modality (multilabel)."""
    if variant == "multilabel":
        real = torch.stack([labels.a, labels.v], dim=1)
        return F.binary_cross_entropy_with_logits(m_logits.float(), real.float())
    return F.cross_entropy(m_logits.float(), labels.mm if variant == "multiclass" else labels.m)


def contrast_loss(video: Tensor, audio: Tensor, real: Tensor, margin: float = 0.0) -> Tensor:
    """Cosine loss between a clip's two modalities (B, D): towards 1 if both are real (B,), else below `margin`."""
    return _pull_or_push(F.cosine_similarity(video.float(), audio.float(), dim=-1), real == 1, margin)


def margin_loss(embeddings: Tensor, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Cosine loss between all pairs of embeddings (B, D): towards 1 for equal labels (B,), else below `margin`."""
    x = embeddings.float()
    cosine = F.cosine_similarity(x[:, None], x[None, :], dim=-1)
    return _pull_or_push(cosine, labels[:, None] == labels[None, :], margin)


def _pull_or_push(cosine: Tensor, together: Tensor, margin: float) -> Tensor:
    return torch.where(together, 1 - cosine, torch.relu(cosine - margin)).mean()
