"""Pretrained audio encoders as the front end of the audio branch: `model.front` of `pretrain.py`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, PathName, Positive, PositiveFloat, Section

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_ARCHS = {
    "ssl": (
        *("wav2vec2-base", "xls-r-300m", "xls-r-1b", "hubert-base", "hubert-large", "mhubert-147"),
        *("wavlm-base-plus", "wavlm-large", "w2v-bert-2"),
    ),
    "whisper": ("tiny", "base", "small", "medium", "large", "large-v3"),
}


class FrontSizesConfig(Section):
    """Sizes of an encoder where they differ from the published ones of its architecture."""

    depth: Positive | None = None
    """Transformer layers."""
    dim: Positive | None = None
    """Width."""
    heads: Positive | None = None
    """Attention heads."""
    mlp_dim: Positive | None = None
    """Width of the feed-forward layers."""
    channels: Positive | None = None
    """Channels of the convolutions on the waveform, or bins of the mel."""


class FrontConfig(Section):
    """A pretrained audio encoder, whose hidden states replace the patches of the mel."""

    kind: Literal["ssl", "whisper"]
    """Self-supervised speech encoder, or the encoder of Whisper."""
    arch: str
    """Architecture. ssl: wav2vec2-base, xls-r-300m, xls-r-1b, hubert-base, hubert-large, mhubert-147, wavlm-base-plus,
    wavlm-large, w2v-bert-2; whisper: tiny, base, small, medium, large, large-v3 (those for English alone have the same
    sizes)."""
    file: PathName
    """File with the weights, in any of the published formats (docs/training.md)."""
    sha256: Digest
    """sha256 of that file."""
    layers: Literal["all", "learned"] | Annotated[list[Count], Field(min_length=1)] = "all"
    """Hidden states that are used: all of them or those listed, side by side (0 is the input of the first layer); or
    the sum of all with learned weights."""
    rate: Literal[25, 50] = 50
    """Tokens per second; 25 averages two neighbours."""
    head: Literal["transformer", "attentive", "sls", "graph"] = "transformer"
    """From the tokens to the clip's feature, after transformer layers (`model.depth`): the mean; the mean and standard
    deviation weighted by attention; the mean, where the layers of the encoder are weighted by a gate of each clip's
    own; or AASIST's graphs over the spectrum and over time."""
    weighting: Literal["equal", "loudness"] = "equal"
    """Weight of a token in the mean and standard deviations of states that score 'fitted' takes: the same for all;
    or by loudness, so that tokens more than 25 dB below the loudest of the window count little."""
    train_from: Count | None = None
    """Transformer layers from this number on are trained, the first being 1; 0 trains the whole encoder; null freezes
    it."""
    lr_scale: PositiveFloat | None = None
    """Learning rate of the trained layers relative to optim.lr."""
    cache: bool = True
    """Compute the hidden states of a frozen encoder once and keep them, in half precision, in the element store for all
    epochs and runs; of validation alone if the audio of training is augmented."""
    embed: bool = False
    """Carry a frozen encoder in the weights of the run; otherwise they refer to it by file and sha256."""
    sizes: FrontSizesConfig | None = None
    """Other sizes than the published ones."""

    @property
    def carried(self) -> bool:
        """True if the weights of a run carry those of the encoder."""
        return self.embed or self.train_from is not None

    @model_validator(mode="after")
    def _consistent(self) -> "FrontConfig":
        if self.arch not in _ARCHS[self.kind]:
            raise ValueError(f"arch '{self.arch}' is none of kind '{self.kind}': {', '.join(_ARCHS[self.kind])}")
        if (self.train_from is None) != (self.lr_scale is None):
            raise ValueError("train_from and lr_scale go together: set both, or none for a frozen encoder")
        if self.embed and self.train_from is not None:
            raise ValueError("embed is of a frozen encoder; one that is trained is in the weights anyway: leave it out")
        if isinstance(self.layers, list) and sorted(set(self.layers)) != self.layers:
            raise ValueError(f"layers {self.layers} must ascend")
        if self.head == "sls" and not (self.layers == "all" or len(self.layers) > 1):
            raise ValueError("head 'sls' weights several layers: set layers to 'all' or to a list")
        if self.layers == "learned" and self.head == "sls":
            raise ValueError("layers 'learned' and head 'sls' both weight the layers: choose one")
        return self
