"""What the configs of all scripts are made of."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avdfd.core import tiers
from avdfd.core.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Home = Literal["auto", "gpu", "memory", "disk"]


class Section(BaseModel):
    """Base of every config section: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class DataConfig(Section):
    """Which elements a training run sees."""

    elements: str = "data/elements"
    """Folder of the element store."""
    splits: str
    """Folder with train.txt, validation.txt and test.txt: one identity per line, disjoint."""
    fake_tiers: list[str]
    """Fake tiers used beside RVRA, in training and validation."""
    balance_tiers: bool = False
    """Draw as many training elements of each tier (of stage 1's fakes, as many of each fake tier)."""
    workers: Count = 4
    """Loader processes; 0 loads in the main process."""
    home: Home = "auto"
    """Where elements are once they have been read: in the memory of the GPU, in that of the machine, or on the disk
    only, to be read again in every epoch. auto: sound alone goes to the GPU or to memory if it takes at most half of
    what is free there; pictures, 8 times larger than their JPEGs, stay on the disk."""

    @model_validator(mode="after")
    def _known_tiers(self) -> "DataConfig":
        if "RVRA" in self.fake_tiers or not self.fake_tiers:
            raise ValueError("fake_tiers lists fake tiers only (RVRA is always there) and cannot be empty")
        return check_tiers(self, self.fake_tiers)


class AugmentConfig(Section):
    """Load-time augmentation of the training split; never in validation or test. All off by default."""

    time_mask: Count = 0
    """Longest run of masked mel frames (4 ms each)."""
    mel_mask: Count = 0
    """Largest band of masked mel bins."""
    mel_noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise on the z-scored mel."""
    mel_tilt: NonNegative = 0.0
    """Standard deviation of a random smooth spectral colouring of the log mel, in units of its own deviation."""
    flip: Fraction = 0.0
    """Probability of a horizontal flip, one draw for all frames of a clip."""
    grayscale: Fraction = 0.0
    """Probability of grey-scale frames, one draw for all frames of a clip."""
    brightness: NonNegative = 0.0
    """Half-width of the random brightness and contrast factors, one draw for all frames of a clip."""
    shift: Count = 0
    """Largest random translation of the frames in pixels of 224, one draw for all frames of a clip."""

    @property
    def of_mels(self) -> list[str]:
        """The keys that are set and change a mel, which an audio branch of the waveform makes itself."""
        return [f"augment.{key}" for key in ("time_mask", "mel_mask", "mel_noise", "mel_tilt") if getattr(self, key)]


class SelectConfig(Section):
    """Which epoch becomes `best`, on validation only."""

    metric: Literal["auc", "ap", "page_auc"] = "auc"
    """page_auc, of stage 1: the mean over pages of the AUC within each, as pages that are tested are judged."""
    first_epoch: Positive = 1
    """No epoch before this one is chosen, as the best of many on few validation clips is best by luck; as many as
    there are choose the last."""
    patience: Positive = 20
    """Stop after this many epochs without a new best."""


class SpeedConfig(Section):
    """What a run may trade for speed or memory. None of it changes what is learned, so it may change on --resume."""

    compile: bool = False
    """Compile the transformer layers by torch.compile: the first steps take a minute or more. Sums are then taken in
    another order and dropout is drawn otherwise, so the last digits differ from a run without it."""
    checkpointing: bool = False
    """Keep the inputs of transformer layers only and compute the rest again for the gradient, with the same dropout:
    far less memory for about a third more work, and the same numbers."""


class TrackingConfig(Section):
    """Where numbers and pictures go beside the run folder. May change when a run goes on."""

    wandb: str | None = None
    """Project of Weights & Biases, whose package is yours to install; null for none."""


class RunConfig(Section):
    """What every training run has."""

    kind: str
    """Which script and system the config is for."""
    name: str
    """Run folder: `<runs>/<name>`."""
    runs: str = "runs"
    seed: Count = 0
    faithful: bool = False
    """Compute what the published code computes, with its faults (README, 'Faithful mode')."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    select: SelectConfig = SelectConfig()
    speed: SpeedConfig = SpeedConfig()
    save_minutes: PositiveFloat = 10.0
    """Minutes after which the state is saved within an epoch; it is saved after each epoch, too."""
    max_bad_steps: Count = 10
    """Steps in a row that may be skipped because their loss or gradient is not finite."""
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _measured(self) -> "RunConfig":
        if self.select.metric == "page_auc" and self.kind != "pretrain":
            raise ValueError("select.metric page_auc is measured in stage 1 only: choose auc or ap")
        return self

    @model_validator(mode="after")
    def _some_are_chosen_from(self) -> "RunConfig":
        epochs = self.optim.epochs if hasattr(self, "optim") else 1  # baselines train in several stages
        if self.select.first_epoch > epochs:
            raise ValueError(
                f"select.first_epoch {self.select.first_epoch} is more than the {epochs} that it may be here"
            )
        return self


S = TypeVar("S", bound=Section)


def check_tiers(section: S, names: list[str]) -> S:
    for name in names:
        try:
            tiers.tier(name)
        except UserError as error:
            raise ValueError(str(error)) from None
    return section
