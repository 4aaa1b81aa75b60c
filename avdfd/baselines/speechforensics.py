"""SpeechForensics: similarity of AV-HuBERT's features of audio and of video, at the lag where it is largest.

Nothing is trained: the run has the published weights of AV-HuBERT.

References:
    Liang et al., "SpeechForensics: Audio-Visual Speech Representation Learning for Face Forgery Detection", NeurIPS
    2024.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from avdfd.baselines.avhubert_inputs import Inputs, given
from avdfd.config import SpeechForensicsConfig
from avdfd.core.errors import UserError
from avdfd.models.speechforensics import SpeechForensics
from avdfd.training.representations import build_avhubert, load_avhubert

STAGES = ("score",)
SCORED = ("score",)
LABELLED: tuple[str, ...] = ()


def branches(cfg: SpeechForensicsConfig) -> tuple[str, ...]:
    return ("fused",)


def inputs(cfg: SpeechForensicsConfig, stage: str, *, train: bool) -> Inputs:
    return Inputs()


def stages(cfg: SpeechForensicsConfig) -> tuple[str, ...]:
    return ()


def build(cfg: SpeechForensicsConfig, stage: str, former: Mapping[str, Tensor] | None) -> nn.Module:
    model = rebuild(cfg, stage)
    load_avhubert(model.encoder, cfg.model.encoder)
    return model


def rebuild(cfg: SpeechForensicsConfig, stage: str) -> SpeechForensics:
    return SpeechForensics(build_avhubert(cfg.model.encoder, ["audio", "video"]), reach=cfg.model.reach)


def published(file: Path) -> dict[str, Tensor]:
    raise UserError(f"{file}: SpeechForensics has no weights of its own; name AV-HuBERT's in model.encoder")


def scores(model: nn.Module, batch: Any, cfg: SpeechForensicsConfig) -> dict[str, Tensor]:
    return {"fused": -model(given(batch))}
