"""`baseline.py`: countermeasures against spoofed speech, which score audio alone."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import AugmentConfig, RunConfig, Section
from avdfd.config.front import FrontSizesConfig
from avdfd.config.recipes import RecipeConfig, WeightsConfig, takes_whole_batches

Wav2Vec2Arch = Literal[
    "xls-r-300m",
    "xls-r-1b",
    "wav2vec2-base",
    "hubert-base",
    "hubert-large",
    "mhubert-147",
    "wavlm-base-plus",
    "wavlm-large",
]
WITH_ENCODER = ("ssl-aasist", "sls")
"""Countermeasures on a pretrained speech encoder."""


class SslConfig(Section):
    """Pretrained speech encoder of a countermeasure, all of which is trained."""

    arch: Wav2Vec2Arch = "xls-r-300m"
    """Architecture, as of `model.front` in stage 1; XLS-R 300M as published."""
    weights: WeightsConfig | None = None
    """Its pretrained weights, from which training starts, in any of the published formats (docs/training.md). Not
    needed with `model.weights` or --published, which have the encoder in them."""
    sizes: FrontSizesConfig | None = None
    """Other sizes than the published ones."""


class CountermeasureModelConfig(Section):
    """A countermeasure of the ASVspoof challenges, of the published size."""

    arch: Literal["aasist", "aasist-l", "rawnet2", "lfcc-lcnn", "ssl-aasist", "sls"] = "aasist"
    """AASIST or its small version, RawNet2, the LCNN with LSTM on LFCCs of ASVspoof 2021; or, on a pretrained speech
    encoder, AASIST's back end (Tak et al. 2022) or SLS (Zhang et al. 2024)."""
    ssl: SslConfig | None = None
    """The pretrained encoder; for arch ssl-aasist and sls alone."""
    samples: Annotated[int, Field(ge=3_211)] = 64_600
    """Samples of the input, 4.04 s as published. Shorter audio, such as a window of 49,152, is repeated from its start;
    49152 takes windows without repetition."""
    clips: Literal["whole", "window"] = "window"
    """whole: of whole clips, from a store made with media.whole, the first `samples`, in training some at a random
    place, as published; window: windows of 3.072 s."""
    weights: WeightsConfig | None = None
    """Released weights from which training starts."""
    frozen_encoder: bool = False
    """Train the graphs and the output of AASIST or AASIST-L alone. The encoder stays as it is in `weights`, and its
    features are computed once, of the first `samples` of each clip or window."""

    @model_validator(mode="after")
    def _on_an_encoder(self) -> "CountermeasureModelConfig":
        if (self.arch in WITH_ENCODER) != (self.ssl is not None):
            raise ValueError(
                f"ssl is the encoder of {' and '.join(WITH_ENCODER)}: set it for them alone, not {self.arch}"
            )
        return self

    @model_validator(mode="after")
    def _of_released_weights(self) -> "CountermeasureModelConfig":
        if self.frozen_encoder and (self.arch not in ("aasist", "aasist-l") or self.weights is None):
            raise ValueError("frozen_encoder takes the encoder of a released AASIST or AASIST-L: name it in `weights`")
        return self


class CountermeasureLossConfig(Section):
    """Weights of the classes."""

    real_weight: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Weight of a real clip in the cross-entropy; a fake has 1 minus that. 0.9 is for nine fakes to a real clip, as in
    ASVspoof 2019; 0.5 weighs both alike."""


class CountermeasureConfig(RunConfig):
    """Countermeasures against spoofed speech, which score audio alone: AASIST, RawNet2, LFCC-LCNN, SSL + AASIST and
    SLS."""

    kind: Literal["countermeasure"] = "countermeasure"
    model: CountermeasureModelConfig = CountermeasureModelConfig()
    loss: CountermeasureLossConfig = CountermeasureLossConfig()
    train: RecipeConfig = RecipeConfig()
    """The only stage. A clip is trained on by the label of its audio: FVRA is real."""

    @property
    def takes_waveforms(self) -> bool:
        return True

    @model_validator(mode="after")
    def _audio_alone(self) -> "CountermeasureConfig":
        if self.augment != AugmentConfig(waveform=self.augment.waveform):
            raise ValueError("augment: a countermeasure takes neither mels nor frames: set augment.waveform alone")
        if self.model.frozen_encoder and self.augment.waveform is not None:
            raise ValueError("model.frozen_encoder computes features once, not of augmented audio: leave one out")
        takes_whole_batches("batch norms need the whole batch", train=self.train)
        return self
