"""`baseline.py`: the published systems with which the method is compared, one config class each.

The defaults are the published recipes. A system with two stages has an optimiser section per stage.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from avdfd.config.base import (
    Count,
    Fraction,
    NonNegative,
    Normalisation,
    PathName,
    Positive,
    PositiveFloat,
    RunConfig,
    Section,
)


class StageDataConfig(Section):
    """Elements of one stage of a baseline, if they are not those of `data`."""

    elements: PathName
    """As `data.elements`."""
    splits: PathName
    """As `data.splits`."""


class RecipeConfig(Section):
    """Training recipe of one stage of a baseline."""

    data: StageDataConfig | None = None
    """Elements and split lists of this stage, as of a data set of real clips; null for those of `data`."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimiser."""
    lr: PositiveFloat = 1e-4
    """Highest learning rate."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [0.9, 0.999])
    """Betas of Adam; the first is SGD's momentum."""
    weight_decay: NonNegative = 0.0
    """Weight decay."""
    new_lr_scale: PositiveFloat = 1.0
    """Learning rate, relative to lr, of the layers that the previous stage did not have."""
    warmup_epochs: Count = 0
    """Epochs of linear growth to lr."""
    schedule: Literal["constant", "halving", "plateau", "linear", "cosine"] = "constant"
    """Learning rate schedule. halving: at epoch `halve_from` and every `halve_every` epochs after it; plateau: after
    `plateau` epochs without a lower validation loss; linear and cosine: from `hold` on, or from the end of the warm-up,
    to zero after the last epoch."""
    hold: Count = 0
    """Epochs before a linear or cosine decay starts."""
    halve_from: Positive = 10
    """First epoch at which halving halves the learning rate."""
    halve_every: Positive = 5
    """Epochs between halvings."""
    plateau: Positive = 3
    """Epochs without a lower validation loss after which plateau reduces the learning rate."""
    epochs: Positive = 30
    """Number of epochs."""
    batch_size: Positive = 8
    """Elements per step, of all processes together; VFD's finetune counts pairs (a fake and a real of one identity)."""
    micro_batch: Count = 0
    """Elements that a process holds in memory at once; gradients of a larger batch are accumulated. 0: no limit. For
    AVFF's finetune only; the other losses, or layers, need the whole batch."""
    clip_norm: NonNegative = 0.0
    """Largest norm of the gradient; 0: no limit."""
    precision: Literal["fp32", "tf32", "bf16"] = "bf16"
    """On a GPU: bf16 autocasts the encoders, not heads, fusion and losses; tf32 rounds the inputs of every matrix
    product to 10 bits; fp32 is exact. A CPU always computes in fp32."""


def _takes_whole_batches(why: str, **stages: RecipeConfig) -> None:
    """Raise ValueError for a stage that is configured to accumulate gradients over parts of a batch."""
    for stage, recipe in stages.items():
        if recipe.micro_batch:
            raise ValueError(f"{stage}.micro_batch: {why}: set it to 0; more processes hold larger batches")


class WeightsConfig(Section):
    """Published weights, from a file that you supply."""

    file: str
    """Checkpoint: a state dict, in one of the wrappers that are published."""
    sha256: str | None = None
    """Expected sha256 of that file."""

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, value: Any) -> Any:
        """Take a plain string as the name of the file, as in `--model.openavff=stage-1.pth`."""
        return {"file": value} if isinstance(value, str) else value


class AvffModelConfig(Section):
    """AVFF model. The defaults are the published sizes."""

    audio_input: Literal["mel", "fbank"] = "mel"
    """Audio input: the elements' own mel, or the Kaldi filter bank of the published system; both stretched to
    audio_length."""
    fbank_mean: float = -5.081
    """Mean by which the filter bank is normalised."""
    fbank_std: PositiveFloat = 4.4849
    """Standard deviation by which the filter bank is normalised."""
    audio_length: Positive = 1024
    """Frames of the audio input; a multiple of 128."""
    image_size: Positive = 224
    """Side of the frames in pixels; a multiple of 16."""
    dim: Positive = 768
    """Width of the encoders' tokens."""
    depth: Positive = 12
    """Transformer layers of the encoders."""
    heads: Positive = 12
    """Attention heads of the encoders; must divide dim."""
    decoder_dim: Positive = 384
    """Width of the decoders' tokens."""
    decoder_depth: Positive = 4
    """Transformer layers of the decoders."""
    decoder_heads: Positive = 6
    """Attention heads of the decoders; must divide decoder_dim."""
    marlin: WeightsConfig | None = None
    """MARLIN weights from which the visual encoder starts. With `openavff` they are not read: they only state that the
    encoder has the biases of MARLIN's form, as one that once started from them has."""
    openavff: WeightsConfig | None = None
    """Checkpoint from which a stage starts: a file of OpenAVFF, or a run of this system (its folder or its
    best.safetensors). `--stage pretrain` continues its pre-training; fine-tuning starts from it instead of from the
    pre-training stage of the same name, which `--stage all` then leaves out."""
    normalisation: Normalisation = "imagenet"
    """Normalisation of the frames: `unit`, RGB / 255, or also by the channel means and standard deviations of ImageNet.
    If it is left out, that of the initialisation: `unit` with marlin, which was trained so, else `imagenet`."""

    @model_validator(mode="before")
    @classmethod
    def _normalised_as_initialised(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("marlin") is None or "normalisation" in values:
            return values
        return {**values, "normalisation": "unit"}

    @model_validator(mode="after")
    def _divisible(self) -> "AvffModelConfig":
        if self.image_size % 16:
            raise ValueError(f"image_size {self.image_size} must be a multiple of the patch size 16")
        if self.audio_length % 128:
            raise ValueError(f"audio_length {self.audio_length} must be a multiple of 128, 8 time slots of 16 frames")
        if self.dim % self.heads or self.decoder_dim % self.decoder_heads:
            raise ValueError("dim must be a multiple of heads, and decoder_dim of decoder_heads")
        return self


class AvffLossConfig(Section):
    """Weights of the pre-training losses."""

    reconstruction: NonNegative = 1.0
    """Weight of the reconstruction of masked patches."""
    contrastive: NonNegative = 0.01
    """Weight of the audio-visual contrastive loss."""
    adversarial: NonNegative = 0.1
    """Weight of the Wasserstein loss of the critics on both reconstructions; 0 leaves the critics out, like
    OpenAVFF."""
    penalty: NonNegative = 10.0
    """Weight of the critics' gradient penalty."""


class AvffConfig(RunConfig):
    """AVFF: self-supervised pre-training on real faces, then classification."""

    kind: Literal["avff"] = "avff"
    model: AvffModelConfig = AvffModelConfig()
    loss: AvffLossConfig = AvffLossConfig()
    pretrain: RecipeConfig = RecipeConfig()
    """Self-supervised pre-training on real faces."""
    finetune: RecipeConfig = RecipeConfig()
    """Classification of real and fake clips."""

    @model_validator(mode="after")
    def _released(self) -> "AvffConfig":
        if self.faithful and self.loss.adversarial:
            raise ValueError("loss.adversarial: OpenAVFF has no adversarial loss: set it to 0, or faithful to false")
        if self.faithful and self.model.marlin:
            raise ValueError("model.marlin: OpenAVFF's encoder has no place for MARLIN's biases; set faithful to false")
        _takes_whole_batches("AVFF contrasts the clips of a whole batch in pre-training", pretrain=self.pretrain)
        if self.faithful:
            _takes_whole_batches("OpenAVFF attends across the clips of a batch", finetune=self.finetune)
        if self.model.audio_input == "fbank" and self.augment.mel_tilt:
            raise ValueError("augment.mel_tilt is for audio_input 'mel': set it to 0")
        return self


class MrdfModelConfig(Section):
    """MRDF model on AV-HuBERT. The defaults are the published sizes."""

    variant: Literal["ce", "margin", "plain", "ensemble", "multilabel", "multiclass"] = "ce"
    """MRDF-CE, MRDF-Margin, and the ablations of the paper."""
    encoder_layers: Count = 12
    """Transformer layers of the fusion encoder; the released code has 0, whatever is configured."""
    dim: Positive = 768
    """Width of the tokens; a multiple of heads and of 16."""
    heads: Positive = 12
    """Attention heads."""
    ffn_dim: Positive = 3072
    """Width of the feed-forward layers."""
    width: Positive = 64
    """Channels of the ResNet's first stage."""
    clips: Literal["whole", "window"] = "window"
    """whole: whole clips, as published, from a store made with media.whole; window: windows of 3.072 s, 77 steps."""
    max_steps: Positive = 500
    """Largest number of video frames, at 25 per second; longer clips are cut."""
    avhubert: WeightsConfig | None = None
    """AV-HuBERT checkpoint from which front ends and fusion encoder start."""

    @model_validator(mode="after")
    def _divisible(self) -> "MrdfModelConfig":
        if self.dim % self.heads or self.dim % 16:
            raise ValueError(f"dim {self.dim} must be a multiple of heads and of 16, the groups of the positions")
        return self


class MrdfLossConfig(Section):
    """Margins of the cosine losses."""

    contrast: float = 0.0
    """Margin of the loss across modalities."""
    audio: float = 0.0
    """Margin of the loss within audio."""
    visual: float = 0.0
    """Margin of the loss within video."""


class MrdfConfig(RunConfig):
    """MRDF: modality-regularised fusion of AV-HuBERT features."""

    kind: Literal["mrdf"] = "mrdf"
    model: MrdfModelConfig = MrdfModelConfig()
    loss: MrdfLossConfig = MrdfLossConfig()
    train: RecipeConfig = RecipeConfig()
    """The only stage."""

    @model_validator(mode="after")
    def _released(self) -> "MrdfConfig":
        if self.faithful and self.model.encoder_layers:
            raise ValueError("model.encoder_layers: the released MRDF has none: set it to 0, or faithful to false")
        _takes_whole_batches("MRDF's batch norms need the whole batch", train=self.train)
        return self


class VfdModelConfig(Section):
    """VFD model. Sizes that are not given are the published ones of the year."""

    year: Literal[2022, 2023] = 2022
    """Version. 2022: convolutional transformers and a triplet loss; 2023: ViT-B/32 and InfoNCE."""
    image_size: Positive = 224
    """Side of the image in pixels."""
    dim: Positive | None = None
    """Width of the tokens; null is 1024 in 2022, 768 in 2023."""
    depth: Positive | None = None
    """Transformer layers; null is 6 in 2022, 12 in 2023."""
    heads: Positive | None = None
    """Attention heads; null is 8 in 2022, 12 in 2023."""
    mlp_dim: Positive = 2048
    """Width of the last layers and of an embedding, 2022."""
    out_dim: Positive = 512
    """Width of an embedding, 2023."""
    width: PositiveFloat = 1.0
    """Channels of the convolutions relative to the published number, 2022."""
    face: WeightsConfig | None = None
    """Released weights of the face network, instead of a matching stage; requires `voice`."""
    voice: WeightsConfig | None = None
    """Released weights of the voice network, instead of a matching stage; requires `face`."""
    frozen: bool = False
    """Do not train the networks, only the map from distance to probability: a zero-shot test with the stage match."""

    @model_validator(mode="after")
    def _both(self) -> "VfdModelConfig":
        if (self.face is None) != (self.voice is None):
            raise ValueError("face and voice weights go together: give both or neither")
        if self.dim and self.heads and self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        return self


class VfdLossConfig(Section):
    """Losses of voice-face matching."""

    margin: PositiveFloat = 100.0
    """Margin of the triplet loss, 2022."""
    temperature: PositiveFloat = 0.1
    """Temperature of InfoNCE, 2023."""
    negatives: Positive = 10
    """Number of pairs with which each (real, fake) pair is contrasted in fine-tuning, 2023."""


class VfdConfig(RunConfig):
    """VFD: voice-face matching on real clips of many identities, then fine-tuning on fakes."""

    kind: Literal["vfd"] = "vfd"
    model: VfdModelConfig = VfdModelConfig()
    pair_by: Literal["identity", "any"] = "identity"
    """Real partner of each fake in fine-tuning: of its identity, or any, as released, for data without identities."""
    loss: VfdLossConfig = VfdLossConfig()
    match: RecipeConfig = RecipeConfig()
    """Voice-face matching on real clips."""
    finetune: RecipeConfig = RecipeConfig()
    """Fine-tuning on fakes."""

    @model_validator(mode="after")
    def _contrasts(self) -> "VfdConfig":
        why = "VFD contrasts the clips of a whole batch"
        _takes_whole_batches(why, match=self.match, finetune=self.finetune)
        return self


BaselineConfig = AvffConfig | MrdfConfig | VfdConfig
"""Config of any published system."""
BASELINES: tuple[type[RunConfig], ...] = get_args(BaselineConfig)
