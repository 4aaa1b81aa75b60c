"""Sections and types shared by the configs of all scripts."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from avdfd.core import tiers
from avdfd.core.errors import UserError
from avdfd.core.text import folder_name
from avdfd.core.workers import MOST

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Workers = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
PathName = Annotated[str, Field(min_length=1)]
FolderName = Annotated[str, AfterValidator(folder_name)]
Home = Literal["auto", "gpu", "memory", "disk"]
Normalisation = Literal["imagenet", "unit"]
SignedRange = Annotated[list[float], Field(min_length=2, max_length=2)]
Range = Annotated[list[PositiveFloat], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """Base of every config section: strict types, no unknown keys, finite numbers, immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def set_keys(section: Section) -> list[str]:
    """Return the keys whose values are not their defaults."""
    fields = type(section).model_fields.items()
    return [name for name, field in fields if getattr(section, name) != field.get_default(call_default_factory=True)]


class DataConfig(Section):
    """Elements of a training run."""

    elements: PathName = "data/elements"
    """Folder of the element store, or its URL: https://, http://, s3://, gs://, az:// or file://, without user and
    password."""
    splits: PathName
    """Folder with train.txt, validation.txt and test.txt, one identity per line, disjoint; or a CSV that names clips
    (data/splits/README.md)."""
    fake_tiers: list[str]
    """Fake tiers used together with RVRA, in training and validation."""
    validation_tiers: list[str] | None = None
    """Fake tiers of validation, by which the best epoch is selected, if they are others than those of training; null:
    the same. Validation without labels (a baseline's pre-training) has real clips only."""
    min_fake: NonNegative = 0.1
    """Smallest number of seconds in which the audio or the video of a training window of a fake clip is fake, where the
    data set states the fake periods; training leaves out windows with fewer. 0 keeps all: those without any are then
    trained on as real. Validation and test always have all windows, each with its own label."""
    vocoded: bool = False
    """Also train on vocoded real clips (RVRA-V) as real ones, if the training list has any (`make_splits.py
    --train-vocoded`). Evaluation reports false alarms on those of its split in any case."""
    balance_tiers: bool = False
    """Draw the same number of training elements from each tier; in stage 1, from each fake tier."""
    workers: Workers = 4
    """Loader processes; 0 loads in the main process."""
    decode: Literal["auto", "cpu", "cuda"] = "auto"
    """Decoder of the frames of training: loader processes (cpu), or nvJPEG on the GPU, all frames of a batch at once
    (cuda). Both give the same values to within 2 of 255. auto: the GPU, if there is one, if nvJPEG works, and if the
    system's inputs can be made from frames there; the log says which."""
    home: Home = "auto"
    """Data residency, once elements have been read: GPU memory, main memory, or the disk only, which is read again in
    every epoch. auto: audio alone goes to the GPU or to main memory if it takes at most half of what is free there;
    frames, 8 times larger than their JPEGs, stay on the disk."""

    @model_validator(mode="after")
    def _known_tiers(self) -> "DataConfig":
        for key in ("fake_tiers", "validation_tiers"):
            names = getattr(self, key)
            if names is not None and ({"RVRA", "RVRA-V"} & {*names} or not names):
                raise ValueError(f"{key} lists fake tiers only (RVRA is always there) and cannot be empty")
        return check_tiers(self, [*self.fake_tiers, *(self.validation_tiers or [])])

    def tiers_of(self, split: str) -> list[str]:
        """Return the fake tiers that a run uses of a split."""
        return self.fake_tiers if split != "validation" or self.validation_tiers is None else self.validation_tiers


class RealDataConfig(DataConfig):
    """Elements of a training run on real clips alone."""

    fake_tiers: list[str] = Field(default_factory=list)
    """None: fakes have no part in it."""

    @model_validator(mode="after")
    def _known_tiers(self) -> "RealDataConfig":
        if self.fake_tiers or self.validation_tiers:
            raise ValueError("fake_tiers: this stage takes real clips alone: leave it out")
        for key in ("min_fake", "balance_tiers"):
            if key in set_keys(self):
                raise ValueError(f"{key}: this stage takes real clips alone: leave it out")
        return self


class CodecConfig(Section):
    """A lossy codec through which audio is encoded and decoded."""

    name: Literal["aac", "mp3", "opus", "mulaw"]
    """Codec."""
    bit_rate: Count = 0
    """Bits per second; 0 for mulaw, whose rate is fixed."""

    @model_validator(mode="after")
    def _consistent(self) -> "CodecConfig":
        if (self.bit_rate == 0) != (self.name == "mulaw"):
            raise ValueError(f"bit_rate {self.bit_rate}: {self.name} takes {'0' if self.name == 'mulaw' else 'one'}")
        most = 256_000 if self.name == "opus" else 320_000
        if self.bit_rate and not 500 <= self.bit_rate <= most:
            raise ValueError(f"bit_rate {self.bit_rate}: {self.name} takes 500 to {most} bits per second")
        return self


_KINDS = {
    **{"speed_factor": "speed", "rt60": "reverberation", "noise_snr": "noise", "impulsive_percent": "impulsive"},
    **{"impulsive_gain": "impulsive", "stationary_snr": "stationary", "band_edge": "band"},
}
"""Limits of the changes of waveforms, and the probability that each needs."""


class WaveformAugmentConfig(Section):
    """Changes of the waveform in training, in this order, each with a probability and a draw of its own for every clip
    and epoch. They are computed by loader processes (`data.workers`), on a GPU, too."""

    speed: Fraction = 0.0
    """Probability of another speed. The pitch changes with it; a clip that becomes shorter is repeated from its start,
    one that becomes longer is cut."""
    speed_factor: Range = Field(default_factory=lambda: [0.9, 1.1])
    """Smallest and largest speed."""
    reverberation: Fraction = 0.0
    """Probability of a room, whose response is decaying noise."""
    rt60: Range = Field(default_factory=lambda: [0.1, 0.8])
    """Shortest and longest reverberation time in seconds."""
    noise: Fraction = 0.0
    """Probability of white noise."""
    noise_snr: SignedRange = Field(default_factory=lambda: [10.0, 40.0])
    """Smallest and largest ratio of signal to white noise in dB."""
    convolutive: Fraction = 0.0
    """Probability of RawBoost's linear and non-linear convolutive noise, with the published settings."""
    impulsive: Fraction = 0.0
    """Probability of RawBoost's impulsive noise that depends on the signal."""
    impulsive_percent: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Largest share of samples with impulsive noise in percent; 10 as published."""
    impulsive_gain: PositiveFloat = 2.0
    """Largest impulsive noise relative to its sample; 2 as published."""
    stationary: Fraction = 0.0
    """Probability of RawBoost's stationary noise, coloured by notches, that does not depend on the signal."""
    stationary_snr: SignedRange = Field(default_factory=lambda: [10.0, 40.0])
    """Smallest and largest ratio of signal to stationary noise in dB; 10 and 40 as published."""
    band: Fraction = 0.0
    """Probability of a narrower band."""
    band_edge: Range = Field(default_factory=lambda: [3000.0, 7500.0])
    """Lowest and highest frequency in Hz above which all is removed."""
    codec: Fraction = 0.0
    """Probability of a lossy codec, one of `codecs`."""
    codecs: list[CodecConfig] = Field(default_factory=list)
    """Lossy codecs, equally probable."""

    @property
    def changes(self) -> bool:
        """True if any kind has a probability."""
        return any((self.speed, self.reverberation, self.noise, self.convolutive, self.impulsive, self.stationary,
                    self.band, self.codec))  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> "WaveformAugmentConfig":
        for key in ("speed_factor", "rt60", "noise_snr", "stationary_snr", "band_edge"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key}: {low:g} is above {high:g}; name the smallest first")
        if self.speed_factor[0] < 0.25 or self.speed_factor[1] > 4:
            raise ValueError("speed_factor: speeds are from 0.25 to 4")
        if self.rt60[0] < 0.01 or self.rt60[1] > 10:
            raise ValueError("rt60: reverberation times are from 0.01 to 10 s")
        if self.band_edge[0] < 100 or self.band_edge[1] > 8000:
            raise ValueError("band_edge: band edges are from 100 to 8000 Hz, as audio is at 16 kHz")
        if bool(self.codec) != bool(self.codecs):
            raise ValueError("codec is the probability of one of codecs: set both, or none")
        for key, kind in _KINDS.items():
            if key in self.model_fields_set and kind not in self.model_fields_set:
                raise ValueError(f"{key} has no effect without {kind}, the probability of what it limits: set both")
        return self


def _if_any(cfg: WaveformAugmentConfig | None) -> WaveformAugmentConfig | None:
    """Return None for changes without any probability: nothing is augmented, and features can be cached."""
    return cfg if cfg is not None and cfg.changes else None


OF_FRAMES = ("flip", "grayscale", "brightness", "shift")
"""Keys of AugmentConfig that change frames."""


class AugmentConfig(Section):
    """Load-time augmentation of the training split, never of validation or test. All off by default."""

    time_mask: Count = 0
    """Longest run of masked mel frames (4 ms each)."""
    mel_mask: Count = 0
    """Largest band of masked mel bins."""
    mel_noise: NonNegative = 0.0
    """Standard deviation of Gaussian noise on the z-scored mel."""
    mel_tilt: NonNegative = 0.0
    """Standard deviation of a random smooth spectral colouring of the log mel, in units of the mel's own standard
    deviation."""
    flip: Fraction = 0.0
    """Probability of a horizontal flip, one draw for all frames of a clip."""
    grayscale: Fraction = 0.0
    """Probability of greyscale frames, one draw for all frames of a clip."""
    brightness: NonNegative = 0.0
    """Half-width of the random brightness and contrast factors, one draw for all frames of a clip."""
    shift: Count = 0
    """Largest random translation of the frames in pixels of 224, one draw for all frames of a clip."""
    waveform: Annotated[WaveformAugmentConfig | None, AfterValidator(_if_any)] = None
    """Changes of waveforms, for stage 1 with input 'waveform' and for countermeasures. Without any probability there
    are none, as with null."""

    @property
    def of_frames(self) -> list[str]:
        """Keys that are set and change frames. They do not apply to a model of audio alone."""
        return [f"augment.{key}" for key in OF_FRAMES if getattr(self, key)]

    @property
    def of_mels(self) -> list[str]:
        """Keys that are set and change a mel. They do not apply to a branch that computes its mel from the waveform."""
        return [f"augment.{key}" for key in ("time_mask", "mel_mask", "mel_noise", "mel_tilt") if getattr(self, key)]


class SelectConfig(Section):
    """Selection of the epoch that becomes `best`, on validation only."""

    metric: Literal["auc", "ap", "page_auc"] = "auc"
    """Validation metric. page_auc (stage 1 only) is the mean over pages of the AUC within each, as in the test by
    page."""
    first_epoch: Positive = 1
    """First epoch that may be selected, because the best of many on few validation clips is best by chance; set to the
    number of epochs it selects the last."""
    patience: Positive = 20
    """Stop after this many epochs without a new best."""


class SpeedConfig(Section):
    """Trade-offs of speed and memory. They do not change what is learned, so they may change on --resume."""

    compile: bool = False
    """Compile the transformer layers with torch.compile: the first steps take a minute or more. Summation order and
    dropout draws change, so the last digits differ from a run without it."""
    attention: Literal["auto", "cudnn", "flash", "efficient", "math"] = "auto"
    """Back end of fused attention on a GPU that comes first; one that cannot run a call is passed over. auto: the
    fastest in the shapes of the model, measured before the first step; the log says which. They differ in the last
    digits."""
    graphs: bool = False
    """Compile the model as a whole, and launch the kernels of a training step as CUDA graphs, for batches of one size.
    On a GPU, in one process, in place of compile, and without checkpointing and micro-batches. Last digits differ."""
    channels_last: Literal["auto"] | bool = "auto"
    """Run 2D and 3D convolutions, other than those that cut patches, with the channels as the last dimension in memory.
    auto: on a GPU, if a training step is faster so, measured before the first one; the log says which. Last digits
    differ, so name one for runs that repeat bit by bit."""
    checkpointing: bool = False
    """Store the inputs of transformer layers only and recompute the rest for the gradient, with the same dropout: far
    less memory for about a third more work, and the same numbers."""

    @model_validator(mode="after")
    def _graphs_alone(self) -> "SpeedConfig":
        for key in ("compile", "checkpointing"):
            if self.graphs and getattr(self, key):
                raise ValueError(f"graphs compiles the model as a whole, without speed.{key}: set one of them to false")
        return self


class TrackingConfig(Section):
    """Destinations of metrics and images besides the run folder. May change when a run is resumed."""

    wandb: str | None = None
    """Project on Weights & Biases, whose package you install yourself; null for none."""


class RunConfig(Section):
    """Keys of every training run."""

    kind: str
    """Script and system that the config is for."""
    name: FolderName
    """Run folder: `<runs>/<name>`. It cannot lead out of `runs`."""
    runs: PathName = "runs"
    """Folder of all run folders."""
    seed: Seed = 0
    """Seed of initialisation, order and augmentation."""
    faithful: bool = False
    """Compute what the released code computes, with its faults (docs/fidelity.md)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto is the GPU if there is one."""
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    select: SelectConfig = SelectConfig()
    speed: SpeedConfig = SpeedConfig()
    save_minutes: PositiveFloat = 10.0
    """Minutes after which the state is saved within an epoch; it is also saved after each epoch."""
    max_bad_steps: Count = 10
    """Steps in a row that may be skipped because their loss or gradient is not finite."""
    tracking: TrackingConfig = TrackingConfig()

    @property
    def takes_waveforms(self) -> bool:
        """True if the model is given waveforms, which `augment.waveform` changes."""
        return False

    @model_validator(mode="after")
    def _augments_waveforms(self) -> "RunConfig":
        if self.augment.waveform is not None and not self.takes_waveforms:
            raise ValueError(
                "augment.waveform changes waveforms, which stage 1 with model.input 'waveform' and countermeasures "
                "take in training: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _measured(self) -> "RunConfig":
        if self.select.metric == "page_auc" and self.kind != "pretrain":
            raise ValueError("select.metric page_auc is computed in stage 1 only: choose auc or ap")
        return self

    @model_validator(mode="after")
    def _epochs_to_select_from(self) -> "RunConfig":
        epochs = self.optim.epochs if hasattr(self, "optim") else 1  # baselines train in several stages
        if self.select.first_epoch > epochs:
            raise ValueError(
                f"select.first_epoch {self.select.first_epoch} is more than the {epochs} that are allowed here"
            )
        return self


S = TypeVar("S", bound=Section)


def check_tiers(section: S, names: list[str]) -> S:
    """Return `section`. Raises ValueError if one of the names is not a tier."""
    for name in names:
        try:
            tiers.tier(name)
        except UserError as error:
            raise ValueError(str(error)) from None
    return section
