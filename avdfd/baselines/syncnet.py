"""SyncNet: distances of its embeddings of speech and face at several lags; a clip in sync has one that stands out.

Nothing is trained: the run has the published weights.

B batch   T 77 frames, 25 per second

References:
    Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from avdfd.config import SyncNetConfig
from avdfd.core.errors import UserError
from avdfd.datasets.element_parts import label_of, pcm_of
from avdfd.datasets.loaders import Reads
from avdfd.datasets.transforms import Seeds, floats
from avdfd.elements import Element
from avdfd.features.filterbank import log_cepstra
from avdfd.features.window import FRAMES
from avdfd.models.syncnet import SyncNet, confidence, from_released
from avdfd.training.state_dicts import fill, read_weights, unwrap

STAGES = ("score",)
SCORED = ("score",)
LABELLED: tuple[str, ...] = ()


class Raw(NamedTuple):
    """Parts of B elements as they are read."""

    frames: Tensor
    """(B, T, 224, 224, 3) uint8."""
    audio: Tensor
    """(B, 49152) int16 waveform."""
    label: Tensor


class Batch(NamedTuple):
    """Tensors of B elements."""

    faces: Tensor
    """(B, 3, T, 224, 224) uint8, blue first, as OpenCV reads the files of the release."""
    cepstra: Tensor
    """(B, 13, 306)."""
    label: Tensor
    """(B,) float, 1 = fake."""


class Inputs(NamedTuple):
    """Input form: all frames and cepstra, never augmented."""

    @property
    def reads(self) -> Reads:
        return Reads(waveform=True, mel=False, frames=range(FRAMES))

    def raw(self, element: Element) -> Raw:
        return Raw(torch.from_numpy(element.frames), pcm_of(element), label_of(element))

    def prepare(self, raw: Raw, seeds: Seeds | None) -> Batch:
        faces = rearrange(raw.frames.flip(-1), "b t h w c -> b c t h w")
        return Batch(faces, log_cepstra(floats(raw.audio)), raw.label)


def branches(cfg: SyncNetConfig) -> tuple[str, ...]:
    return ("fused",)


def inputs(cfg: SyncNetConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs()


def stages(cfg: SyncNetConfig) -> tuple[str, ...]:
    return ()


def build(cfg: SyncNetConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model, weights = rebuild(cfg, stage), cfg.model.weights
    content = unwrap(read_weights(weights.file, sha256=weights.sha256), weights.file)
    fill(model, from_released(content), source=weights.file)
    return model


def rebuild(cfg: SyncNetConfig, stage: str) -> SyncNet:
    return SyncNet(width=cfg.model.width)


def published(file: Path) -> dict[str, Tensor]:
    raise UserError(f"{file}: name SyncNet's weights in model.weights, and run without --published")


def scores(model: nn.Module, batch: Batch, cfg: SyncNetConfig) -> dict[str, Tensor]:
    return {"fused": -confidence(model(batch.faces.float(), batch.cepstra, reach=cfg.model.reach))}
