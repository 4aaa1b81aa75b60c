"""`train.py --stage consistency`: stage 2a, the predictor of the mouth."""

from typing import Literal

from pydantic import model_validator

from avdfd.config.base import (
    AugmentConfig,
    Count,
    Fraction,
    Positive,
    PositiveFloat,
    RealDataConfig,
    RunConfig,
    Section,
    set_keys,
)
from avdfd.config.recipes import OptimConfig
from avdfd.config.visual import RepresentationConfig

Direction = Literal["a2v", "v2a", "symmetric"]


class ConsistencyModelConfig(Section):
    """Stage 2a's predictor of the mouth from audio."""

    representation: RepresentationConfig = RepresentationConfig()
    direction: Direction = "a2v"
    """Direction of prediction: the mouth from audio, audio from the mouth, or both, with the evidence of both. All have
    the same span of time, tokens and sizes."""
    components: Count = 120
    """Principal components of the movement of an encoder's features, found on the real training clips, that take their
    place if there are more; 0 takes all features, for direction a2v. The 120 of the mouth shape are taken as they are.
    """
    tokens: Positive = 6
    """Numbers per frame that are predicted in a direction."""
    depth: Count = 0
    """Layers of local attention that correct the linear prediction; 0 for none, as for method least-squares."""
    width: Positive = 96
    """Width of these layers."""
    heads: Positive = 4
    """Attention heads; must divide width."""
    dropout: Fraction = 0.1
    """Dropout probability of these layers."""

    @model_validator(mode="after")
    def _divisible(self) -> "ConsistencyModelConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.direction != "a2v" and self.representation.encoder is not None and not self.components:
            raise ValueError(
                f"direction '{self.direction}' predicts audio from principal components of an encoder's features: set "
                "components, or direction to 'a2v'"
            )
        return self


class ConsistencyStageConfig(RunConfig):
    """`train.py --stage consistency`: stage 2a, mouth movement predicted from audio, on real clips alone."""

    kind: Literal["consistency"] = "consistency"
    data: RealDataConfig
    method: Literal["least-squares", "info-nce", "regression"] = "least-squares"
    """least-squares: in closed form, in seconds, and best for minutes of speech. The others train it further, with
    `model.depth` layers: info-nce tells the true moment from others of the clip and the clip from those of other
    identities; regression brings the prediction close to the movement."""
    model: ConsistencyModelConfig = ConsistencyModelConfig()
    ridge: PositiveFloat = 1.0
    """Penalty of least squares, of standardised inputs relative to the number of frames."""
    rounds: Count = 2
    """How often least squares estimates by how much the audio of a recording is early or late."""
    optim: OptimConfig = OptimConfig()
    """Optimiser for info-nce and regression. `precision` is also that of an encoder's features, with every method."""

    @model_validator(mode="after")
    def _of_one_method(self) -> "ConsistencyStageConfig":
        if self.method != "least-squares":
            return self
        if self.model.depth:
            raise ValueError("model.depth: least-squares fits no layers: set it to 0, or method to info-nce")
        if self.augment != AugmentConfig():
            raise ValueError("augment: least-squares takes clips as they are: leave it out")
        own = {"select.metric", *(("optim.precision",) if self._has_encoder else ())}
        of_steps = [f"{name}.{key}" for name in ("optim", "select") for key in set_keys(getattr(self, name))]
        of_steps += [key for key in ("save_minutes", "max_bad_steps") if key in set_keys(self)]
        for key in of_steps:
            if key not in own:
                raise ValueError(f"{key}: least-squares takes no steps: leave it out, or set method to info-nce")
        for key in ("home", "decode"):
            if key in set_keys(self.data) and not self._has_encoder:
                raise ValueError(f"data.{key}: least-squares reads audio and mouth shapes from the disk: leave it out")
        return self

    @model_validator(mode="after")
    def _without_effect(self) -> "ConsistencyStageConfig":
        for key in set_keys(self.speed):
            if getattr(self.speed, key) is not False:
                raise ValueError(f"speed.{key}: has no effect on stage 2a's few small layers: leave it out")
        if self.augment.of_frames:
            raise ValueError(f"stage 2a is trained on no frames: set {', '.join(self.augment.of_frames)} to 0")
        if self.faithful:
            raise ValueError("faithful: the released code has no stage 2a: leave it out")
        return self

    @property
    def _has_encoder(self) -> bool:
        return self.model.representation.encoder is not None
