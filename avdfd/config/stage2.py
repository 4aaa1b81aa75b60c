"""`train.py`: stage 2, the detector."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from avdfd.config.base import (
    Count,
    Fraction,
    NonNegative,
    PathName,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
    set_keys,
)
from avdfd.config.recipes import OptimConfig
from avdfd.config.stage2a import Direction
from avdfd.config.visual import VisualModelConfig, normalised

Fusion = Literal["learned", "fixed", "visual"]
Anchors = Literal["equal", "own"]
Without = Literal["consistency", "picture"]


class PredictorConfig(Section):
    """Audio-conditioned predictor of the visual tokens."""

    depth: Positive = 2
    """Transformer layers."""
    heads: Positive = 4
    """Attention heads."""
    dropout: Fraction = 0.1
    """Dropout probability."""
    zeros: bool = False
    """Give the predictor zeros in place of the tokens that it predicts from, a control: what it predicts then depends
    on the anchor alone."""


class Stage2LossConfig(Section):
    """Weights of the stage-2 losses in addition to BCE on the fused probability."""

    align: NonNegative = 0.5
    """Weight of the align/repel loss on the audio-visual mismatch; two branches only."""
    margin: NonNegative = 0.5
    """Mismatch beyond which fakes are pushed; two branches only."""
    consistency: NonNegative = 0.0
    """Weight of a BCE on the consistency branch alone; with two branches on the visual branch, so that it also learns
    from clips that the audio branch already classifies correctly, where 0 is the published loss."""
    picture: NonNegative = 0.0
    """Weight of a BCE on the picture branch alone; three branches only, where it is 1 unless it is given or the branch
    left out, as nothing else trains that branch."""
    audio: NonNegative = 0.0
    """Weight of a BCE on the audio branch alone, with audio_lr_scale; three branches only, whose fusion has no gradient
    for the branches."""
    confidence: NonNegative = 1.0
    """Weight of a cross-entropy on the weights of a learned fusion, supervised by the manipulated modality of a
    training clip, audio or video (`avdfd.models.losses.confidence`). 0 is the published loss: the branch that fits
    training best may then get all weight for all clips."""


class SynchronyConfig(Section):
    """Learning whether audio and video are in sync, from real clips that are put out of sync."""

    weight: PositiveFloat = 2.0
    """Weight of the loss by which predicted moments identify the actual ones."""
    out_of_step: Fraction = 0.4
    """Fraction of the real training clips whose audio is circularly shifted against the video by 0.4 s or more; they
    count as fakes."""
    turned: Fraction = 0.7
    """Fraction of all training clips that are circularly shifted as a whole, audio and video alike."""


class ConsistencyConfig(Section):
    """Consistency and picture branch beside the audio branch, in place of the released visual branch."""

    init: PathName
    """Run folder of stage 2a (its `best.safetensors` is used) or file of such weights."""
    lr_scale: NonNegative = 0.0
    """Learning rate of the predictor from stage 2a relative to lr; 0 freezes it, so that it has learned from real clips
    alone."""
    moved: NonNegative = 1.0
    """Weight of a BCE by which the branch tells parts of real clips from the same parts with audio of other moments, by
    which no fake is needed to learn that audio is wrong or late."""
    zeros: bool = False
    """Give the predictor zeros in place of the audio, a control: the branch then cannot know what is said."""


class TrainConfig(RunConfig):
    """`train.py`: stage 2, the detector.

    With `consistency`, the detector has the branches audio, consistency and picture; without, the two branches of the
    released design, to which predictor, direction, anchors, discrepancy, synchrony, loss.align and loss.margin belong.
    """

    kind: Literal["train"] = "train"
    audio: PathName
    """Stage-1 run folder (its `best.safetensors` is used) or file of such weights. With faithful or audio_lr_scale also
    the authors' file (`.pt`), which has the encoder alone, of the published sizes."""
    visual: VisualModelConfig = VisualModelConfig()
    consistency: ConsistencyConfig | None = None
    """Three branches, with the relation of audio and mouth over time; null for the released design."""
    without: Without | None = None
    """Branch that is left out of the fusion, a control; three branches only."""
    predictor: PredictorConfig = PredictorConfig()
    direction: Direction = "a2v"
    """Direction of prediction: video from audio, as published; audio from video; or both, with the evidence of both."""
    anchors: Anchors = "equal"
    """Anchors in the evidence. equal: the visual one in every direction, as published for a2v, so that directions are
    compared with the same one; own: that of each prediction, the audio feature for v2a and both for symmetric."""
    discrepancy: bool = True
    """Evidence includes the discrepancy; false leaves the anchor alone, a control."""
    fusion: Fusion = "learned"
    """Weights of the branches' probabilities: from the confidence network, as published; the same each; or visual, none
    for the audio branch."""
    synchrony: SynchronyConfig | None = None
    """Evidence of being out of sync, in addition to the published one, and training for it; null is published."""
    loss: Stage2LossConfig = Stage2LossConfig()
    optim: OptimConfig = OptimConfig()
    micro_batch: Count = 0
    """Elements that a process holds in memory at once; gradients of a larger batch are accumulated. 0: no limit."""
    backbone_lr_scale: NonNegative = 0.1
    """Learning rate of the visual backbone relative to lr; 0 freezes it."""
    keep_tokens: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of the visual tokens that the trained backbone is given in training, drawn for each clip and step: of
    the places that are left out, all moments are. Evaluation takes every token. 1 is published; three branches only."""
    audio_lr_scale: NonNegative = 0.0
    """Learning rate of the audio encoder and its head from stage 1 relative to lr; 0 freezes them. Trained, they have
    dropout, and batch norms keep the statistics of stage 1. With three branches it needs loss.audio."""
    cache: bool = False
    """With frozen encoders, compute the features of a clip once and keep them in the element store for all epochs and
    runs: 2.4 MB per clip with two branches of the published sizes, 7 kB with three. Excludes augmentation. If an
    encoder is trained, nothing is cached, so that a search may have both."""

    @property
    def frozen(self) -> bool:
        """True if the encoders are frozen, so that their features are the same in every epoch."""
        return not (self.backbone_lr_scale or self.audio_lr_scale or (self.consistency and self.consistency.lr_scale))

    @model_validator(mode="before")
    @classmethod
    def _normalised_as_initialised(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("faithful") or "visual" not in values:
            return values
        return {**values, "visual": normalised(values["visual"])}

    @model_validator(mode="before")
    @classmethod
    def _picture_branch_is_trained(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("consistency") or values.get("without") == "picture":
            return values
        loss = values.get("loss", {})
        return {**values, "loss": {"picture": 1.0, **loss}} if isinstance(loss, dict) else values

    @model_validator(mode="after")
    def _of_one_design(self) -> "TrainConfig":
        if self.consistency is None:
            of_three = {"without": self.without, "loss.picture": self.loss.picture, "loss.audio": self.loss.audio}
            of_three |= {"keep_tokens": self.keep_tokens < 1}
            for key, value in of_three.items():
                if value:
                    raise ValueError(f"{key} is for three branches: set consistency, or leave it out")
            return self
        if self.faithful:
            raise ValueError("the released code has two branches: leave consistency out, or set faithful to false")
        for key in ("predictor", "direction", "anchors", "discrepancy", "synchrony", "loss.align", "loss.margin"):
            section, name = (self.loss, key.removeprefix("loss.")) if key.startswith("loss.") else (self, key)
            if name in set_keys(section):
                raise ValueError(f"{key} is of the released design: leave it out, or set consistency to null")
        if self.audio_lr_scale and not self.loss.audio:
            raise ValueError(
                "audio_lr_scale: with three branches only loss.audio reaches the audio branch: set it above 0, or "
                "audio_lr_scale to 0"
            )
        if self.loss.audio and not self.audio_lr_scale:
            raise ValueError("loss.audio trains the audio branch: set audio_lr_scale above 0, or leave it out")
        if self.keep_tokens < 1 and not self.backbone_lr_scale:
            raise ValueError("keep_tokens is of a trained backbone: leave it out, or set backbone_lr_scale above 0")
        return self

    @model_validator(mode="after")
    def _supervises_a_learned_fusion(self) -> "TrainConfig":
        if self.fusion != "learned" and self.loss.confidence not in (0, Stage2LossConfig().confidence):
            raise ValueError("loss.confidence supervises a learned fusion: leave it out, or set fusion to 'learned'")
        return self

    @model_validator(mode="after")
    def _published_where_faithful(self) -> "TrainConfig":
        if self.faithful and (self.direction, self.fusion) != ("a2v", "learned"):
            raise ValueError("the released code predicts a2v and learns its fusion: leave direction and fusion out")
        if self.faithful and (self.predictor.zeros or not self.discrepancy):
            raise ValueError("the released code has no such control: leave predictor.zeros and discrepancy out")
        if self.faithful and self.audio_lr_scale:
            raise ValueError(
                "audio_lr_scale: the released code freezes the audio branch: set it to 0, or faithful to false"
            )
        if self.faithful and self.cache:
            raise ValueError(
                "cache: the released code has dropout in the frozen audio branch, so its features differ in every "
                "epoch: set it to false, or faithful to false"
            )
        if self.faithful and self.synchrony is not None:
            raise ValueError("the released code does not learn synchrony: leave it out")
        if self.faithful and self.loss.confidence:
            raise ValueError(
                "loss.confidence: the released code does not supervise its fusion: set it to 0, or faithful to false"
            )
        return self

    @model_validator(mode="after")
    def _anchors_of_other_directions(self) -> "TrainConfig":
        if self.direction == "a2v" and self.anchors == "own":
            raise ValueError("anchors: direction a2v has one anchor, its own: leave anchors out")
        return self

    @model_validator(mode="after")
    def _synchrony_needs_a_predicted_mouth(self) -> "TrainConfig":
        if self.direction == "v2a" and self.synchrony is not None:
            raise ValueError(
                "synchrony compares predicted and actual mouths, and direction v2a predicts none: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _cached_without_augmentation(self) -> "TrainConfig":
        augmented = [f"augment.{key}" for key, value in self.augment if value]
        if self.synchrony is not None:
            augmented += [f"synchrony.{key}" for key in ("out_of_step", "turned") if getattr(self.synchrony, key)]
        if self.cache and self.frozen and augmented:
            raise ValueError(
                "cache keeps the features of a frozen backbone, the same in every epoch, without augmentation: "
                f"set {', '.join(augmented)} to 0, or cache to false"
            )
        return self
