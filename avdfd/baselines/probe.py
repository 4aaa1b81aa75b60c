"""Linear probe of AV-HuBERT: one linear layer per frame, and log-sum-exp over the frames.

B batch

References:
    Boldisor et al., "Investigating self-supervised representations for audio-visual deepfake detection", arXiv
    2511.17181, 2025.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.baselines import avhubert_inputs
from avdfd.baselines.avhubert_inputs import AvHubertPart, Inputs, given
from avdfd.config import ProbeConfig
from avdfd.core.errors import UserError
from avdfd.datasets.samplers import Epochs, Shuffled
from avdfd.elements import ElementMeta, coded
from avdfd.models.avhubert_features import Stream
from avdfd.models.probe import LinearProbe, clip_logit
from avdfd.training.distributed import Chance
from avdfd.training.representations import build_avhubert, load_avhubert

STAGES = ("train",)
SCORED = ("train",)
LABELLED = ("train",)

_STREAMS: dict[str, tuple[Stream, ...]] = {
    "audio": ("audio",),
    "video": ("video",),
    "both": ("audio", "video"),
    "joint": ("joint",),
}
"""`model.features` -> streams of AV-HuBERT."""


class Outputs(NamedTuple):
    """Logit of each clip, and its label."""

    logit: Tensor
    """(B,)."""
    label: Tensor
    """(B,)."""


def branches(cfg: ProbeConfig) -> tuple[str, ...]:
    return ("fused",)


def inputs(cfg: ProbeConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs()


def stages(cfg: ProbeConfig) -> tuple[str, ...]:
    return STAGES


def needs_whole_batch(cfg: ProbeConfig) -> bool:
    return False


def batches(cfg: ProbeConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    names = coded(metas, "tier") if cfg.data.balance_tiers else None
    return Shuffled(len(metas), cfg.train.batch_size, cfg.seed, tiers=names)


def build(cfg: ProbeConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model = rebuild(cfg, stage)
    load_avhubert(model.encoder, cfg.model.encoder)
    return model


def rebuild(cfg: ProbeConfig, stage: str) -> LinearProbe:
    encoder = cfg.model.encoder
    return LinearProbe(build_avhubert(encoder, _STREAMS[cfg.model.features]), encoder.dim)


def published(file: Path) -> dict[str, Tensor]:
    raise UserError(f"{file}: no weights of the linear probe are published; train it")


def frozen(model: nn.Module, cfg: ProbeConfig, stage: str, device: torch.device) -> AvHubertPart | None:
    assert isinstance(model, LinearProbe)
    return AvHubertPart(model.encoder, cfg.train.precision, device) if cfg.cache else None


def groups(model: nn.Module, cfg: ProbeConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    return [(model.parameters(), 1.0)]


def outputs(net: nn.Module, batch: Any, cfg: ProbeConfig, stage: str, chance: Chance) -> Outputs:
    return Outputs(clip_logit(net(given(batch)).float()), batch.label)


def losses(model: nn.Module, out: Outputs, cfg: ProbeConfig, stage: str) -> dict[str, Tensor]:
    return {"loss": F.binary_cross_entropy_with_logits(out.logit, out.label)}


def early(model: nn.Module, batch: Any, cfg: ProbeConfig) -> dict[str, Tensor]:
    assert isinstance(model, LinearProbe)
    return avhubert_inputs.early(model.encoder, batch)


def preview(batch: Any) -> tuple[Tensor | None, Tensor | None]:
    return avhubert_inputs.preview(batch)


def scores(model: nn.Module, batch: Any, cfg: ProbeConfig) -> dict[str, Tensor]:
    return {"fused": clip_logit(model(given(batch)).float())}
