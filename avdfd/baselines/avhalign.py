"""AVH-Align: alignment of AV-HuBERT's features of audio and of video, learned from real clips.

B batch

References:
    Smeu et al., "Circumventing shortcuts in audio-visual deepfake detection datasets with unsupervised learning", CVPR
    2025.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avdfd.baselines import avhubert_inputs
from avdfd.baselines.avhubert_inputs import AvHubertPart, Inputs, given
from avdfd.config import AvhAlignConfig
from avdfd.core.errors import UserError
from avdfd.datasets.samplers import Epochs, Shuffled
from avdfd.elements import ElementMeta
from avdfd.models.avh_align import AlignmentHead, AvhAlign, alignment_loss, misalignment
from avdfd.training.distributed import Chance
from avdfd.training.representations import build_avhubert, load_avhubert
from avdfd.training.state_dicts import fill, read_weights, unwrap

STAGES = ("align",)
SCORED = ("align",)
LABELLED: tuple[str, ...] = ()


class Outputs(NamedTuple):
    """Loss of each clip."""

    loss: Tensor
    """(B,)."""


def branches(cfg: AvhAlignConfig) -> tuple[str, ...]:
    return "mean", "fused"


def inputs(cfg: AvhAlignConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs()


def stages(cfg: AvhAlignConfig) -> tuple[str, ...]:
    return STAGES if cfg.model.head is None else ()


def needs_whole_batch(cfg: AvhAlignConfig) -> bool:
    return False


def batches(cfg: AvhAlignConfig, stage: str, metas: Sequence[ElementMeta]) -> Epochs:
    return Shuffled(len(metas), cfg.align.batch_size, cfg.seed)


def build(cfg: AvhAlignConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model, weights = rebuild(cfg, stage), cfg.model.head
    load_avhubert(model.encoder, cfg.model.encoder)
    if weights is not None:
        fill(model.head, unwrap(read_weights(weights.file, sha256=weights.sha256), weights.file), source=weights.file)
    return model


def rebuild(cfg: AvhAlignConfig, stage: str) -> AvhAlign:
    m = cfg.model
    head = AlignmentHead(dim=m.encoder.dim, width=m.width)
    return AvhAlign(build_avhubert(m.encoder, ["audio", "video"]), head, reach=m.reach)


def published(file: Path) -> dict[str, Tensor]:
    raise UserError(f"{file}: AVH-Align's file has the head alone; name it in model.head, and run without --published")


def frozen(model: nn.Module, cfg: AvhAlignConfig, stage: str, device: torch.device) -> AvHubertPart | None:
    assert isinstance(model, AvhAlign)
    return AvHubertPart(model.encoder, cfg.align.precision, device) if cfg.cache else None


def groups(model: nn.Module, cfg: AvhAlignConfig, stage: str) -> list[tuple[Iterable[nn.Parameter], float]]:
    return [(model.parameters(), 1.0)]


def outputs(net: nn.Module, batch: Any, cfg: AvhAlignConfig, stage: str, chance: Chance) -> Outputs:
    return Outputs(alignment_loss(net(given(batch), lags=True).float()))


def losses(model: nn.Module, out: Outputs, cfg: AvhAlignConfig, stage: str) -> dict[str, Tensor]:
    return {"loss": out.loss.mean()}


def early(model: nn.Module, batch: Any, cfg: AvhAlignConfig) -> dict[str, Tensor]:
    assert isinstance(model, AvhAlign)
    return avhubert_inputs.early(model.encoder, batch)


def preview(batch: Any) -> tuple[Tensor | None, Tensor | None]:
    return avhubert_inputs.preview(batch)


def scores(model: nn.Module, batch: Any, cfg: AvhAlignConfig) -> dict[str, Tensor]:
    mean, exponential = misalignment(model(given(batch)).float())
    return {"mean": mean, "fused": exponential}
