"""Published systems that relate lips and speech: SpeechForensics, AVH-Align, the linear probe and SyncNet.

Networks whose weights are published are not trained here: the config names their files.
"""

from typing import Literal

from pydantic import model_validator

from avdfd.config.base import Positive, PositiveFloat, RunConfig, Section
from avdfd.config.recipes import AvHubertConfig, RecipeConfig, ScoringConfig, WeightsConfig


class SpeechForensicsModelConfig(Section):
    """SpeechForensics model."""

    encoder: AvHubertConfig
    """AV-HuBERT."""
    reach: Positive = 15
    """Frames by which audio may be late or early."""


class SpeechForensicsConfig(RunConfig):
    """SpeechForensics: similarity of AV-HuBERT's features of audio and of video. Nothing is trained."""

    kind: Literal["speechforensics"] = "speechforensics"
    model: SpeechForensicsModelConfig
    score: ScoringConfig = ScoringConfig()
    """The only stage, without training."""


class AvhAlignModelConfig(Section):
    """AVH-Align model. The defaults are the published sizes."""

    encoder: AvHubertConfig
    """AV-HuBERT."""
    width: Positive = 1024
    """Width of both modalities together in the head, a multiple of 8; its other layers have a half, a quarter and an
    eighth of it."""
    reach: Positive = 15
    """Frames by which the other audio frames are late or early with which training contrasts the true one."""
    head: WeightsConfig | None = None
    """Published weights of the head, in place of training."""

    @model_validator(mode="after")
    def _divisible(self) -> "AvhAlignModelConfig":
        if self.width % 8:
            raise ValueError(f"width {self.width} must be a multiple of 8")
        return self


class AvhAlignConfig(RunConfig):
    """AVH-Align: alignment of AV-HuBERT's features of audio and of video, learned from real clips."""

    kind: Literal["avhalign"] = "avhalign"
    model: AvhAlignModelConfig
    align: RecipeConfig = RecipeConfig()
    """Training of the head on real clips."""
    cache: bool = True
    """Store AV-HuBERT's features in the element store, so that they are computed once."""


class ProbeModelConfig(Section):
    """Linear probe."""

    encoder: AvHubertConfig
    """AV-HuBERT."""
    features: Literal["audio", "video", "both", "joint"] = "both"
    """Features of audio, of video, both side by side, or those that AV-HuBERT computes of both together."""


class ProbeConfig(RunConfig):
    """Linear probe of AV-HuBERT: one linear layer per frame, and log-sum-exp over the frames."""

    kind: Literal["probe"] = "probe"
    model: ProbeModelConfig
    train: RecipeConfig = RecipeConfig()
    """The only stage."""
    cache: bool = True
    """Store AV-HuBERT's features in the element store, so that they are computed once."""


class SyncNetModelConfig(Section):
    """SyncNet model."""

    weights: WeightsConfig
    """Published weights."""
    width: PositiveFloat = 1.0
    """Channels and units relative to the published number."""
    reach: Positive = 15
    """Frames by which audio may be late or early."""


class SyncNetConfig(RunConfig):
    """SyncNet: distances of its embeddings of speech and face at several lags. Nothing is trained."""

    kind: Literal["syncnet"] = "syncnet"
    model: SyncNetModelConfig
    score: ScoringConfig = ScoringConfig()
    """The only stage, without training."""
