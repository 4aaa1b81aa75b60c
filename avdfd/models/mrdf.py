"""MRDF: cross- and within-modality regularisation on AV-HuBERT features, and the ablations of its paper.

    B batch   T video frames, 25 per second   D width

    audio ─► front end ─┬─► mean a_cross      ┌─► project, mean (classify) ─► a
                        ├─────────────────────┘
                        ├─► fusion encoder ─► classify ─► m_logits
                        ├─────────────────────┐
    video ─► front end ─┴─► mean v_cross      └─► project, mean (classify) ─► v

As released, column 0 of two classes is fake and column 1 real; `fake_logits` converts outputs to logits of being fake.

References:
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avdfd.core.errors import UserError
from avdfd.models.avhubert import AVHubert
from OpenAVFF.precision import Float32

Variant = Literal["ce", "margin", "plain", "ensemble", "multilabel", "multiclass"]

BRANCHES: dict[Variant, tuple[str, ...]] = {
    "ce": ("audio", "visual", "fused"),
    "margin": ("fused",),
    "plain": ("fused",),
    "ensemble": ("audio", "visual", "fused"),
    "multilabel": ("audio", "visual", "fused"),
    "multiclass": ("audio", "visual", "fused"),
}
"""Variant -> branches that `fake_logits` returns, the main one last."""

# Released prefix -> ours; a released checkpoint holds each of these tensors under both.
_TWINS = {
    "model.feature_extractor_audio.": "feature_extractor_audio_hubert.",
    "model.feature_extractor_video.": "feature_extractor_video_hubert.",
    "model.layer_norm.": "project_hubert.0.",
    "model.post_extract_proj.": "project_hubert.1.",
    "model.encoder.": "fusion_encoder_hubert.",
}
_HEADS = ("project_audio.", "project_video.", "audio_classifier.", "video_classifier.", "mm_classifier.")
_UNUSED = ("model.mask_emb", "model.final_proj.", "final_proj_audio.", "final_proj_video.", "final_proj_hubert.")


class MrdfOutput(NamedTuple):
    """Outputs of MRDF for a batch; None if the variant does not have them."""

    m_logits: Tensor | None
    """(B, 2) of fake and real; multilabel: (B, 2) of real audio and real video; multiclass: (B, 4), see `Labels.mm`.
    The ensemble has none."""
    v_cross: Tensor
    """(B, D) mean of the video front end."""
    a_cross: Tensor
    """(B, D) mean of the audio front end."""
    v: Tensor | None
    """(B, 2) logits of fake and real video (ce, ensemble) or embedding (B, D) (margin)."""
    a: Tensor | None
    """(B, 2) logits of fake and real audio (ce, ensemble) or embedding (B, D) (margin)."""


class Mrdf(nn.Module):
    """MRDF-CE, MRDF-Margin, and the ablations plain, ensemble, multilabel and multiclass.

    The state_dict keys are the released ones, less duplicates and unused weights.

    By default padding does not affect a sample's outputs, and the fused features are averaged over time. `faithful`
    computes what the released code does, with `encoder_layers=0`: means include the padding, only the first step is
    classified, layers are post-norm, and the 3-D stem keeps its initial weights, because no gradient reached it.
    """

    def __init__(
        self,
        *,
        variant: Variant = "ce",
        encoder_layers: int = 12,
        dim: int = 768,
        heads: int = 12,
        ffn_dim: int = 3072,
        width: int = 64,
        dropout: float = 0.1,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        self.faithful = faithful
        backbone = AVHubert(
            encoder_layers=encoder_layers,
            dim=dim,
            heads=heads,
            ffn_dim=ffn_dim,
            in_channels=3,
            width=width,
            dropout=dropout,
            layer_norm_first=not faithful,
        )
        self.feature_extractor_audio_hubert = backbone.feature_extractor_audio
        self.feature_extractor_video_hubert = backbone.feature_extractor_video
        if faithful:
            self.feature_extractor_video_hubert.resnet.frontend3D.requires_grad_(False)

        self.fuses = variant != "ensemble"
        if self.fuses:
            self.project_hubert = nn.Sequential(backbone.layer_norm, backbone.post_extract_proj)
            self.fusion_encoder_hubert = backbone.encoder
            classes = 4 if variant == "multiclass" else 2
            self.mm_classifier = Float32(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, classes))

        self.regularises = variant in ("ce", "margin", "ensemble")
        if self.regularises:
            self.project_audio = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Dropout(dropout))
            self.project_video = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Dropout(dropout))
            embeds = variant == "margin"
            self.audio_classifier = nn.Identity() if embeds else Float32(nn.Linear(dim, 2))
            self.video_classifier = nn.Identity() if embeds else Float32(nn.Linear(dim, 2))

    def load_avhubert(self, pretrained: AVHubert) -> None:
        """Copies front ends and fusion encoder from an AV-HuBERT of the same sizes with 3 image channels."""
        self.feature_extractor_audio_hubert.load_state_dict(pretrained.feature_extractor_audio.state_dict())
        self.feature_extractor_video_hubert.load_state_dict(pretrained.feature_extractor_video.state_dict())
        if self.fuses:
            self.project_hubert[0].load_state_dict(pretrained.layer_norm.state_dict())
            self.project_hubert[1].load_state_dict(pretrained.post_extract_proj.state_dict())
            self.fusion_encoder_hubert.load_state_dict(pretrained.encoder.state_dict())

    def forward(self, video: Tensor, audio: Tensor, padding_mask: Tensor | None = None) -> MrdfOutput:
        """Normalised video (B, 3, T, 100, 100), audio (B, 104, T), padding_mask (B, T), True = padding, or None."""
        ignore = None if self.faithful else padding_mask
        audio_steps = self.feature_extractor_audio_hubert(audio)
        video_steps = self.feature_extractor_video_hubert(video, ignore)
        m_logits = v = a = None
        if self.fuses:
            both = self.project_hubert(torch.cat([audio_steps, video_steps], dim=-1))
            fused = self.fusion_encoder_hubert(both, padding_mask)
            m_logits = self.mm_classifier(fused[:, 0] if self.faithful else _mean(fused, ignore))
        if self.regularises:
            a = self.audio_classifier(_mean(self.project_audio(audio_steps), ignore))
            v = self.video_classifier(_mean(self.project_video(video_steps), ignore))
        return MrdfOutput(
            m_logits=m_logits, v_cross=_mean(video_steps, ignore), a_cross=_mean(audio_steps, ignore), v=v, a=a
        )


def fake_logits(out: MrdfOutput, variant: Variant) -> dict[str, Tensor]:
    """Return the logit of being fake (B,) for each of the variant's BRANCHES.

    A clip is fake if either modality is: if a variant scores only the modalities, the fused logit is the larger one.
    """
    if variant in ("margin", "plain"):
        return {"fused": _odds(out.m_logits, [0])}
    if variant == "ce":
        return {"audio": _odds(out.a, [0]), "visual": _odds(out.v, [0]), "fused": _odds(out.m_logits, [0])}
    if variant == "multiclass":
        fake = {"audio": [2, 3], "visual": [1, 3], "fused": [1, 2, 3]}
        return {branch: _odds(out.m_logits, classes) for branch, classes in fake.items()}
    if variant == "ensemble":
        audio, visual = _odds(out.a, [0]), _odds(out.v, [0])
    else:
        audio, visual = (-_float(out.m_logits)).unbind(dim=1)
    return {"audio": audio, "visual": visual, "fused": torch.maximum(audio, visual)}


def from_released(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an `Mrdf` from a released checkpoint.

    Of a tensor under two names, the one without `model.` is used. Weights that no output depends on are dropped: the
    mask embedding and the final projections. Raises UserError if a key does not belong to MRDF.
    """
    ours = {}
    for key in sorted(state_dict, key=lambda key: not key.startswith("model.")):
        if key.startswith(_UNUSED):
            continue
        twin = next((prefix for prefix in _TWINS if key.startswith(prefix)), "")
        name = _TWINS.get(twin, "") + key.removeprefix(twin)
        if not name.startswith((*_TWINS.values(), *_HEADS)):
            raise UserError(f"not a checkpoint of MRDF: unexpected key '{key}'; check the file")
        ours[name] = state_dict[key]
    return ours


def _mean(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean of x (B, T, D) over the steps that are not padding, in float32 or in a higher precision that x has."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if padding_mask is None:
        return x.mean(dim=1)
    steps = (~padding_mask).sum(dim=1, keepdim=True)
    return x.masked_fill(padding_mask[..., None], 0).sum(dim=1) / steps


def _odds(logits: Tensor | None, chosen: list[int]) -> Tensor:
    """Logit of the class being one of the chosen ones, from the logits of all classes (B, K): (B,)."""
    logits = _float(logits)
    others = [k for k in range(logits.shape[1]) if k not in chosen]
    return logits[:, chosen].logsumexp(dim=1) - logits[:, others].logsumexp(dim=1)


def _float(logits: Tensor | None) -> Tensor:
    assert logits is not None, "the outputs are of another variant"
    return logits.float()
