"""`pretrain.py` and `train.py`: the two stages of the method."""

from typing import Any, Literal

from pydantic import Field, model_validator

from avdfd.config.base import (
    AugmentConfig,
    Count,
    Fraction,
    NonNegative,
    PathName,
    Positive,
    PositiveFloat,
    RealDataConfig,
    RunConfig,
    Section,
)
from avdfd.config.front import FrontConfig
from avdfd.config.visual import RepresentationConfig, VisualModelConfig, normalised

Direction = Literal["a2v", "v2a", "symmetric"]
Fusion = Literal["learned", "fixed", "visual"]
Anchors = Literal["equal", "own"]
Without = Literal["consistency", "picture"]


class AudioModelConfig(Section):
    """Stage-1 audio encoder and its heads. The defaults are the published sizes."""

    input: Literal["mel", "mel_err", "waveform"] = "mel"
    """Input: the log mel; its reconstruction error, which elements have if media.mel_err was set; or the waveform,
    from which the model computes a mel and `spectra`."""
    patches: Literal["pixels", "statistics"] = "pixels"
    """Content of a token: all points of its patch, or the patch's second-order statistics
    (`avdfd/features/statistics.py`), which do not depend on the words spoken."""
    spectra: list[Literal[128, 256, 512, 1024, 2048]] = Field(default_factory=list)
    """FFT sizes of the linear spectra computed from a waveform in addition to its mel; their statistics are used."""
    dim: Positive = 512
    """Width of the tokens."""
    depth: Count = 4
    """Transformer layers; statistics can do without."""
    heads: Positive = 4
    """Attention heads; must divide dim."""
    mlp_dim: Positive = 1024
    """Width of the feed-forward layers."""
    dropout: Fraction = 0.1
    """Dropout probability."""
    patch_frames: Positive = 64
    """Mel frames per patch (4 ms each); must divide 768."""
    projection_dim: Positive = 256
    """Width of the embedding that the contrastive and ordinal losses use."""
    score: Literal["trained", "fitted"] = "trained"
    """Source of the score: a head trained with the rest, as published; or a linear function of the statistics of a
    clip that is fitted before training (`avdfd/training/fitted.py`) and that the head only scales."""
    front: FrontConfig | None = None
    """A pretrained audio encoder, whose hidden states take the place of the patches. It takes the waveform; with
    patches 'statistics', those of the spectra are used in addition."""

    @model_validator(mode="after")
    def _divisible(self) -> "AudioModelConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if 768 % self.patch_frames:
            raise ValueError(f"patch_frames {self.patch_frames} must divide the 768 mel frames of a window")
        if self.front is not None:
            if self.input != "waveform":
                raise ValueError(f"front takes the waveform: set input to 'waveform', not '{self.input}'")
            if self.patches == "statistics" and not self.spectra:
                raise ValueError("statistics beside front are those of spectra: name some, or leave patches out")
            if self.score == "fitted" and self.front.train_from is not None:
                raise ValueError("score 'fitted' is fitted once, before training: leave front.train_from out")
        elif (self.input == "waveform") != bool(self.spectra):
            raise ValueError(
                "input 'waveform' and spectra go together: a mel alone is read, not made, with input 'mel'"
            )
        if self.spectra and self.patches != "statistics":
            raise ValueError("spectra are used through their statistics: set patches to 'statistics'")
        if self.score == "fitted" and self.patches != "statistics" and self.front is None:
            raise ValueError("score 'fitted' is a function of statistics: set patches to 'statistics'")
        if any(size > 256 and self.patch_frames % (size // 256) for size in self.spectra):
            raise ValueError(f"patch_frames {self.patch_frames} must be a multiple of the largest of spectra / 256")
        return self


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


class OptimConfig(Section):
    """AdamW with linear warm-up and cosine decay."""

    lr: PositiveFloat = 3e-5
    """Highest learning rate."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay."""
    epochs: Positive = 50
    """Number of epochs."""
    warmup_epochs: Count = 5
    """Epochs of linear growth to lr."""
    min_lr_ratio: Fraction = 0.02
    """Learning rate at the end, relative to lr."""
    clip_norm: PositiveFloat = 1.0
    """Largest norm of the gradient."""
    batch_size: Positive = 32
    """Elements per step, of all processes together; stage 1 counts pairs (a fake and a real of the same identity)."""
    precision: Literal["fp32", "tf32", "bf16"] = "bf16"
    """On a GPU: bf16 autocasts the encoders, not heads, fusion and losses; tf32 rounds the inputs of every matrix
    product to 10 bits; fp32 is exact. A CPU always computes in fp32."""


class Stage1LossConfig(Section):
    """Weights of the stage-1 losses."""

    temperature: PositiveFloat = 0.07
    """Temperature of the contrastive loss."""
    margin: NonNegative = 0.2
    """Growth of the mean distance to the real prototype from class to class."""
    supcon: NonNegative = 1.0
    """Weight of the supervised contrastive loss over the four classes."""
    auxiliary: NonNegative = 1.0
    """Weight of the real/fake BCE."""
    ordinal: NonNegative = 1.0
    """Weight of the ordinal ring."""
    ranking: NonNegative = 0.0
    """Weight of a loss that ranks the logit of each fake above that of its real partner. Properties that the two share,
    such as their page when pair_by is page, cancel. 0 is the published loss."""


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
    """Weight of a BCE on the picture branch alone; three branches only."""
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


class PretrainConfig(RunConfig):
    """`pretrain.py`: stage 1, the audio branch."""

    kind: Literal["pretrain"] = "pretrain"
    model: AudioModelConfig = AudioModelConfig()
    pair_by: Literal["identity", "page"] = "identity"
    """Pairing of each fake: with a real element of its identity, or of the page that published it."""
    loss: Stage1LossConfig = Stage1LossConfig()
    optim: OptimConfig = OptimConfig()
    fit_c: PositiveFloat = 0.003
    """Inverse penalty of a fitted score (`model.score`): scikit-learn's C of a logistic regression."""

    @property
    def takes_waveforms(self) -> bool:
        return self.model.input == "waveform"

    @model_validator(mode="after")
    def _augments_its_input(self) -> "PretrainConfig":
        if self.model.input == "waveform" and self.augment.of_mels:
            raise ValueError(f"a waveform is not augmented as a mel: set {', '.join(self.augment.of_mels)} to 0")
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
    """Optimiser for info-nce and regression."""

    @model_validator(mode="after")
    def _of_one_method(self) -> "ConsistencyStageConfig":
        if self.method == "least-squares" and self.model.depth:
            raise ValueError("model.depth: least-squares fits no layers: set it to 0, or method to info-nce")
        if self.method == "least-squares" and self.augment != AugmentConfig():
            raise ValueError("augment: least-squares takes clips as they are: leave it out")
        return self


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

    @model_validator(mode="after")
    def _of_one_design(self) -> "TrainConfig":
        if self.consistency is None:
            of_three = {"without": self.without, "loss.picture": self.loss.picture, "loss.audio": self.loss.audio}
            for key, value in of_three.items():
                if value:
                    raise ValueError(f"{key} is for three branches: set consistency, or leave it out")
            return self
        if self.faithful:
            raise ValueError("the released code has two branches: leave consistency out, or set faithful to false")
        for key in ("predictor", "direction", "anchors", "discrepancy", "synchrony", "loss.align", "loss.margin"):
            section, name = (self.loss, key.removeprefix("loss.")) if key.startswith("loss.") else (self, key)
            if getattr(section, name) != type(section).model_fields[name].default:
                raise ValueError(f"{key} is of the released design: leave it out, or set consistency to null")
        if self.audio_lr_scale and not self.loss.audio:
            raise ValueError(
                "audio_lr_scale: with three branches only loss.audio reaches the audio branch: set it above 0, or "
                "audio_lr_scale to 0"
            )
        if self.loss.audio and not self.audio_lr_scale:
            raise ValueError("loss.audio trains the audio branch: set audio_lr_scale above 0, or leave it out")
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
