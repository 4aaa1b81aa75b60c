"""MRDF: AV-HuBERT's front ends and fusion encoder, regularised across and within modalities.

B batch   T video frames, 25 per second

References:
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from avdfd.baselines.mrdf_inputs import half_size, mrdf_video
from avdfd.config import MrdfConfig
from avdfd.core import fields, tiers
from avdfd.core.errors import UserError
from avdfd.datasets.element_parts import label_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.samplers import Epochs, Shuffled
from avdfd.datasets.transforms import Seeds, generators
from avdfd.elements import Element, ElementMeta, coded
from avdfd.features.early import of_maps, spread
from avdfd.features.filterbank import stacked_filterbank
from avdfd.features.frames import normalise
from avdfd.models import mrdf
from avdfd.models.avhubert import AVHubert, from_fairseq
from avdfd.models.mrdf_losses import Labels, mrdf_loss
from avdfd.training.batch_norm import with_rows
from avdfd.training.distributed import Chance
from avdfd.training.state_dicts import fill, read_weights, unwrap

STAGES = ("train",)
SCORED = ("train",)
LABELLED = ("train",)


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    frames: Tensor
    """(B, T, 112, 112, 3) uint8, at half size; 0 beyond a clip's end."""
    audio: Tensor
    """(B, T, 104)."""
    steps: Tensor
    """(B,) frames of each clip."""
    label: Tensor
    label_video: Tensor
    label_audio: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    video: Tensor
    """(B, 3, T, 100, 100) uint8."""
    audio: Tensor
    """(B, 104, T)."""
    padding: Tensor
    """(B, T), True beyond a clip's end."""
    label: Tensor
    """(B,) float, 1 = fake."""
    label_video: Tensor
    """(B,) 1 = fake, -1 = unknown."""
    label_audio: Tensor
    """(B,) 1 = fake, -1 = unknown."""


class Outputs(NamedTuple):
    """The model's outputs, as `MrdfOutput`, and the labels (B,) of both modalities, 1 = fake."""

    m_logits: Tensor | None
    v_cross: Tensor
    a_cross: Tensor
    v: Tensor | None
    a: Tensor | None
    label_video: Tensor
    label_audio: Tensor


class Inputs(NamedTuple):
    """Input form: all frames, cropped to the middle of the face, and log filter banks."""

    max_steps: int

    @property
    def reads(self) -> Reads:
        return Reads(waveform=True, mel=False, frames=range(self.max_steps))

    def raw(self, element: Element) -> Raw:
        frames = half_size(element.frames)
        audio = stacked_filterbank(torch.from_numpy(element.waveform), len(frames))
        meta = element.meta
        known = (-1, -1) if meta is None else _modalities(meta)
        return Raw(frames, audio, torch.tensor(len(frames)), label_of(element), *map(torch.tensor, known))

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        rngs = [None] * len(raw.frames) if seeds is None else generators(seeds)
        video = torch.stack([mrdf_video(frames, rng) for frames, rng in zip(raw.frames, rngs, strict=True)])
        audio = rearrange(raw.audio, "b t f -> b f t").contiguous()
        padding = torch.arange(audio.shape[2], device=audio.device) >= raw.steps[:, None]
        return Batch(video, audio, padding, raw.label, raw.label_video, raw.label_audio)


def _modalities(meta: ElementMeta) -> tuple[int, int]:
    """Return the labels of a window's video and audio, -1 for unknown."""
    audio, video = meta.window.modalities
    return -1 if meta.label_video is None else video, -1 if meta.label_audio is None else audio


def branches(cfg: MrdfConfig) -> tuple[str, ...]:
    return mrdf.BRANCHES[cfg.model.variant]


def inputs(cfg: MrdfConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs(cfg.model.max_steps)


def stages(cfg: MrdfConfig) -> tuple[str, ...]:
    return STAGES


def needs_whole_batch(cfg: MrdfConfig) -> bool:
    return cfg.faithful and cfg.model.clips == "whole"  # the shortest clip of a batch cuts all of them


def batches(cfg: MrdfConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    names = coded(metas, "tier")
    for tier in (tiers.tier(names.values[code]) for code in np.unique(names.codes)):
        if tier.video is None or tier.audio is None:
            raise UserError(
                f"{cfg.data.elements}: MRDF needs a label for each modality, which the tier {tier.name} does not have; "
                "leave it out of data.fake_tiers"
            )
    return Shuffled(len(metas), cfg.train.batch_size, cfg.seed, tiers=names if cfg.data.balance_tiers else None)


def build(cfg: MrdfConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model = rebuild(cfg, stage)
    weights, m = cfg.model.avhubert, cfg.model
    if weights is not None:
        content = unwrap(read_weights(weights.file, sha256=weights.sha256), weights.file)
        pretrained = AVHubert(
            encoder_layers=m.encoder_layers, dim=m.dim, heads=m.heads, ffn_dim=m.ffn_dim, width=m.width, in_channels=3
        )
        fill(pretrained, from_fairseq(content, in_channels=3), source=weights.file)
        model.load_avhubert(pretrained)
    return model


def rebuild(cfg: MrdfConfig, stage: str) -> mrdf.Mrdf:
    m = cfg.model
    return mrdf.Mrdf(
        variant=m.variant,
        encoder_layers=m.encoder_layers,
        dim=m.dim,
        heads=m.heads,
        ffn_dim=m.ffn_dim,
        width=m.width,
        faithful=cfg.faithful,
    )


def published(file: Path) -> dict[str, Tensor]:
    return mrdf.from_released(unwrap(read_weights(file), str(file)))


def frozen(model: nn.Module, cfg: MrdfConfig, stage: str, device: torch.device) -> None:
    return None


def groups(model: nn.Module, cfg: MrdfConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    return [(model.parameters(), 1.0)]


def outputs(net: nn.Module, batch: Batch, cfg: MrdfConfig, stage: str, chance: Chance) -> Outputs:
    batch, padding = _cut(batch) if cfg.faithful else batch, _padding(batch, cfg)
    with contextlib.nullcontext() if padding is None else with_rows(_steps(padding)):
        out: mrdf.MrdfOutput = net(normalise(batch.video, "lips"), batch.audio, padding)
    return Outputs(*out, label_video=batch.label_video, label_audio=batch.label_audio)


def losses(model: nn.Module, out: Outputs, cfg: MrdfConfig, stage: str) -> dict[str, Tensor]:
    margins = cfg.loss
    return mrdf_loss(
        mrdf.MrdfOutput(out.m_logits, out.v_cross, out.a_cross, out.v, out.a),
        Labels(v=1 - out.label_video, a=1 - out.label_audio),
        cfg.model.variant,
        margin_contrast=margins.contrast,
        margin_audio=margins.audio,
        margin_visual=margins.visual,
    )


def early(model: nn.Module, batch: Batch, cfg: MrdfConfig) -> dict[str, Tensor]:
    assert isinstance(model, mrdf.Mrdf)
    maps = model.feature_extractor_video_hubert.stem(normalise(batch.video, "lips"), batch.padding)
    return {"audio": spread(batch.audio.mT, batch.padding), "visual": of_maps(maps, batch.padding)}


def preview(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.audio, batch.video


def scores(model: nn.Module, batch: Batch, cfg: MrdfConfig) -> dict[str, Tensor]:
    video, audio, padding = normalise(batch.video, "lips"), batch.audio, _padding(batch, cfg)
    if cfg.faithful and cfg.model.clips == "whole":  # means over time would include padding, so each clip is alone
        alone = [
            model(clip[None, :, :steps], features[None, :, :steps])
            for clip, features, steps in zip(video, audio, _steps(batch.padding), strict=True)
        ]
        out = fields.combine(alone, torch.cat)
    else:
        out = model(video, audio, padding)
    return mrdf.fake_logits(out, cfg.model.variant)


def _padding(batch: Batch, cfg: MrdfConfig) -> Tensor | None:
    """Return the padding of whole clips; None for windows, and for the meta device, where operations are counted.

    All processes must agree on it, so it does not depend on whether a clip of this batch is padded.
    """
    return None if cfg.faithful or cfg.model.clips == "window" or batch.padding.is_meta else batch.padding


def _steps(padding: Tensor) -> list[int]:
    """Return the number of steps of each clip from its padding (B, T)."""
    return (~padding).sum(dim=1).tolist()


def _cut(batch: Batch) -> Batch:
    """Return the batch cut to its shortest clip, as in the released training."""
    if batch.padding.is_meta:
        return batch
    steps = min(_steps(batch.padding))
    return batch._replace(
        video=batch.video[:, :, :steps], audio=batch.audio[:, :, :steps], padding=batch.padding[:, :steps]
    )
