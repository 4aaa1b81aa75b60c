"""`baseline.py`: countermeasures against spoofed speech, which score audio alone."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import AugmentConfig, RunConfig, Section
from avdfd.config.recipes import RecipeConfig, WeightsConfig, takes_whole_batches


class CountermeasureModelConfig(Section):
    """A countermeasure of the ASVspoof challenges, of the published size."""

    arch: Literal["aasist", "aasist-l", "rawnet2", "lfcc-lcnn"] = "aasist"
    """AASIST or its small version, RawNet2, or the LCNN with LSTM on LFCCs of ASVspoof 2021."""
    samples: Annotated[int, Field(ge=3_211)] = 64_600
    """Samples of the input, 4.04 s as published. Shorter audio, such as a window of 49,152, is repeated from its start;
    49152 takes windows without repetition."""
    clips: Literal["whole", "window"] = "window"
    """whole: of whole clips, from a store made with media.whole, the first `samples`, in training some at a random
    place, as published; window: windows of 3.072 s."""
    weights: WeightsConfig | None = None
    """Released weights from which training starts."""


class CountermeasureLossConfig(Section):
    """Weights of the classes."""

    real_weight: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Weight of a real clip in the cross-entropy; a fake has 1 minus that. 0.9 is for nine fakes to a real clip, as in
    ASVspoof 2019; 0.5 weighs both alike."""


class CountermeasureConfig(RunConfig):
    """Countermeasures against spoofed speech, which score audio alone: AASIST, RawNet2 and LFCC-LCNN."""

    kind: Literal["countermeasure"] = "countermeasure"
    model: CountermeasureModelConfig = CountermeasureModelConfig()
    loss: CountermeasureLossConfig = CountermeasureLossConfig()
    train: RecipeConfig = RecipeConfig()
    """The only stage. A clip is trained on by the label of its audio: FVRA is real."""

    @model_validator(mode="after")
    def _audio_alone(self) -> "CountermeasureConfig":
        if self.augment != AugmentConfig():
            raise ValueError("augment: its changes are of mels and frames, which a countermeasure does not take")
        takes_whole_batches("batch norms need the whole batch", train=self.train)
        return self
