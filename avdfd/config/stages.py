"""`pretrain.py` and `train.py`: the two stages of the method."""

from typing import Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, Fraction, NonNegative, Positive, PositiveFloat, RunConfig, Section

Direction = Literal["a2v", "v2a", "symmetric"]
Fusion = Literal["learned", "fixed", "visual"]


class AudioModelConfig(Section):
    """Stage-1 audio encoder and its heads; the defaults are the published sizes."""

    input: Literal["mel", "mel_err", "waveform"] = "mel"
    """What it hears: the log mel; the reconstruction error of one that elements have with media.mel_err; or the
    waveform, of which it makes a mel and `spectra` itself."""
    patches: Literal["pixels", "statistics"] = "pixels"
    """What a token is made of: all points of its patch, or the patch's second-order statistics
    (`avdfd.features.statistics`), which do not know what is said."""
    spectra: list[Literal[128, 256, 512, 1024, 2048]] = Field(default_factory=list)
    """FFT sizes of the linear spectra that a waveform is heard in beside its mel, by their statistics."""
    dim: Positive = 512
    depth: Count = 4
    """Transformer layers; statistics do with none."""
    heads: Positive = 4
    mlp_dim: Positive = 1024
    dropout: Fraction = 0.1
    patch_frames: Positive = 64
    """Mel frames per patch (4 ms each); must divide 768."""
    projection_dim: Positive = 256
    score: Literal["trained", "fitted"] = "trained"
    """How a voice is judged: by a head that is trained with the rest, as published; or by a linear function of the
    statistics of a sound, which is fitted before training (`avdfd.training.fitted`), and which the head only scales."""

    @model_validator(mode="after")
    def _divisible(self) -> "AudioModelConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if 768 % self.patch_frames:
            raise ValueError(f"patch_frames {self.patch_frames} must divide the 768 mel frames of a window")
        if (self.input == "waveform") != bool(self.spectra):
            raise ValueError(
                "input 'waveform' and spectra go together: a mel alone is read, not made, with input 'mel'"
            )
        if self.spectra and self.patches != "statistics":
            raise ValueError("spectra are heard by their statistics: set patches to 'statistics'")
        if self.score == "fitted" and self.patches != "statistics":
            raise ValueError("score 'fitted' is a function of statistics: set patches to 'statistics'")
        if any(size > 256 and self.patch_frames % (size // 256) for size in self.spectra):
            raise ValueError(f"patch_frames {self.patch_frames} must be a multiple of the largest of spectra / 256")
        return self


class VisualModelConfig(Section):
    """Stage-2 visual encoder (ViT over tubelets); the defaults are ViT-B as in MARLIN."""

    init: Literal["random", "marlin", "openavff"] = "random"
    """Where the weights come from: random, a MARLIN file, or an encoder from OpenAVFF pre-training."""
    weights: str | None = None
    """File with the weights, unless init is random."""
    sha256: str | None = None
    """Expected sha256 of that file."""
    image_size: Positive = 224
    dim: Positive = 768
    depth: Positive = 12
    heads: Positive = 12

    @model_validator(mode="after")
    def _consistent(self) -> "VisualModelConfig":
        if self.image_size % 16:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch size 16")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if (self.init == "random") != (self.weights is None):
            raise ValueError(
                "weights is unused when init is 'random': remove it"
                if self.weights
                else f"init '{self.init}' needs weights: the path of the file, or use init 'random'"
            )
        if self.sha256 is not None and self.weights is None:
            raise ValueError("sha256 is unused without weights: remove it")
        return self


class PredictorConfig(Section):
    """Audio-conditioned predictor of the visual tokens."""

    depth: Positive = 2
    heads: Positive = 4
    dropout: Fraction = 0.1


class OptimConfig(Section):
    """AdamW with linear warm-up and cosine decay."""

    lr: PositiveFloat = 3e-5
    weight_decay: NonNegative = 0.01
    epochs: Positive = 50
    warmup_epochs: Count = 5
    min_lr_ratio: Fraction = 0.02
    """Learning rate at the end, relative to lr."""
    clip_norm: PositiveFloat = 1.0
    batch_size: Positive = 32
    """Elements per step, of all processes together; stage 1 counts pairs (a fake and a real of the same identity)."""
    precision: Literal["fp32", "tf32", "bf16"] = "bf16"
    """On a GPU: autocast to bf16; or fp32, with tf32 rounded to 10 bits before every product, with fp32 not. The CPU
    always computes in fp32."""


class Stage1LossConfig(Section):
    """Weights of the stage-1 losses."""

    temperature: PositiveFloat = 0.07
    margin: NonNegative = 0.2
    """Growth of the mean distance to the real prototype from class to class."""
    supcon: NonNegative = 1.0
    auxiliary: NonNegative = 1.0
    ordinal: NonNegative = 1.0
    ranking: NonNegative = 0.0
    """Of the logit of each fake above that of its real partner. What the two share, such as their page when pair_by is
    page, takes no part in it. 0 is the published loss."""


class Stage2LossConfig(Section):
    """Weights of the stage-2 losses beside BCE on the fused probability."""

    align: NonNegative = 0.5
    """Weight of the align/repel loss on the audio-visual mismatch."""
    margin: NonNegative = 0.5
    """Mismatch that fakes are pushed beyond."""
    consistency: NonNegative = 0.0
    """Weight of a BCE on the visual-consistency branch alone, so that it learns where the audio branch is right
    already; 0 is the published loss."""
    confidence: NonNegative = 1.0
    """Weight of a cross-entropy of the weights of a learned fusion, which are to go to the branch whose part of a
    training clip is fake, sound or pictures (`avdfd.models.losses.confidence`). 0 is the published loss: the branch
    that fits training best may then get all weight for all clips."""


class SynchronyConfig(Section):
    """Learning whether sound and picture are in step, from real clips that are put out of step."""

    weight: PositiveFloat = 2.0
    """Of the loss by which predicted moments find those that are seen (`avdfd.models.losses.in_sync`)."""
    out_of_step: Fraction = 0.4
    """Part of the real training clips whose sound is turned round against their pictures, by 0.4 s and more: fakes."""
    turned: Fraction = 0.7
    """Part of all training clips that begin elsewhere, sound and pictures alike; what comes before goes to the end."""


class PretrainConfig(RunConfig):
    """`pretrain.py`: stage 1, the audio branch."""

    kind: Literal["pretrain"] = "pretrain"
    model: AudioModelConfig = AudioModelConfig()
    pair_by: Literal["identity", "page"] = "identity"
    """Whose real elements a fake is paired with: its person's, or those of the page that published it."""
    loss: Stage1LossConfig = Stage1LossConfig()
    optim: OptimConfig = OptimConfig()
    fit_c: PositiveFloat = 0.003
    """Inverse penalty of a fitted score (`model.score`): C of scikit-learn's logistic regression."""

    @model_validator(mode="after")
    def _augments_what_is_heard(self) -> "PretrainConfig":
        if self.model.input == "waveform" and self.augment.of_mels:
            raise ValueError(f"a waveform is not augmented as a mel: set {', '.join(self.augment.of_mels)} to 0")
        return self


class TrainConfig(RunConfig):
    """`train.py`: stage 2, audio-to-visual prediction and fusion."""

    kind: Literal["train"] = "train"
    audio: str
    """Stage-1 run folder (its `best.safetensors` is used) or file of such weights."""
    visual: VisualModelConfig = VisualModelConfig()
    predictor: PredictorConfig = PredictorConfig()
    direction: Direction = "a2v"
    """What is predicted from what: vision from audio, as published; audio from vision; or both, with both evidences."""
    fusion: Fusion = "learned"
    """How the probabilities of the branches are weighed: by the confidence network, as published; by one half each; or
    the visual-consistency branch alone."""
    synchrony: SynchronyConfig | None = None
    """Evidence of being out of step, beside the published one, and training for it; null is published."""
    loss: Stage2LossConfig = Stage2LossConfig()
    optim: OptimConfig = OptimConfig()
    micro_batch: Count = 0
    """Elements that a process has in its memory at once; gradients of a larger batch are added up. 0: no limit."""
    backbone_lr_scale: NonNegative = 0.1
    """Learning rate of the visual backbone relative to lr; 0 freezes it."""
    cache: bool = False
    """With a frozen backbone, compute what frozen parts make of a clip once and keep it in the element store, 2.4 MB a
    clip at the published sizes, for all epochs and runs. There is no augmentation then. A backbone that is trained
    is not cached, so that a search may have both."""

    @model_validator(mode="after")
    def _published_where_faithful(self) -> "TrainConfig":
        if self.faithful and (self.direction, self.fusion) != ("a2v", "learned"):
            raise ValueError("the released code predicts a2v and learns its fusion: leave direction and fusion out")
        if self.faithful and self.synchrony is not None:
            raise ValueError("the released code does not learn synchrony: leave it out")
        if self.faithful and self.loss.confidence:
            raise ValueError(
                "loss.confidence: the released code does not supervise its fusion: set it to 0, or faithful to false"
            )
        return self

    @model_validator(mode="after")
    def _in_step_with_what_is_predicted(self) -> "TrainConfig":
        if self.direction == "v2a" and self.synchrony is not None:
            raise ValueError(
                "synchrony compares predicted and seen mouths, of which direction v2a has none: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _cached_without_augmentation(self) -> "TrainConfig":
        augmented = [f"augment.{key}" for key, value in self.augment if value]
        if self.synchrony is not None:
            augmented += [f"synchrony.{key}" for key in ("out_of_step", "turned") if getattr(self.synchrony, key)]
        if self.cache and self.backbone_lr_scale == 0 and augmented:
            raise ValueError(
                "cache keeps what a frozen backbone sees, the same in every epoch, without augmentation: "
                f"set {', '.join(augmented)} to 0, or cache to false"
            )
        return self
