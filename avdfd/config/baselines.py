"""`baseline.py`: the published systems with which the method is compared, one config class each.

The defaults are the published recipes. A system with two stages has an optimiser section per stage. Systems that relate
lips and speech, and those of audio alone, have modules of their own.
"""

from typing import Any, Literal, get_args

from pydantic import model_validator

from avdfd.config.base import Count, NonNegative, Normalisation, Positive, PositiveFloat, RunConfig, Section
from avdfd.config.countermeasure import CountermeasureConfig
from avdfd.config.lip_sync import AvhAlignConfig, ProbeConfig, SpeechForensicsConfig, SyncNetConfig
from avdfd.config.recipes import RecipeConfig, WeightsConfig, takes_whole_batches


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
        takes_whole_batches("AVFF contrasts the clips of a whole batch in pre-training", pretrain=self.pretrain)
        if self.faithful:
            takes_whole_batches("OpenAVFF attends across the clips of a batch", finetune=self.finetune)
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
        takes_whole_batches("MRDF's batch norms need the whole batch", train=self.train)
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
        takes_whole_batches(why, match=self.match, finetune=self.finetune)
        return self


BaselineConfig = (
    AvffConfig
    | MrdfConfig
    | VfdConfig
    | SpeechForensicsConfig
    | AvhAlignConfig
    | ProbeConfig
    | SyncNetConfig
    | CountermeasureConfig
)
"""Config of any published system."""
BASELINES: tuple[type[RunConfig], ...] = get_args(BaselineConfig)
