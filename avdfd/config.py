"""Experiment configs: one JSON file <-> one typed model, strict in both directions.

A key that is not known, has the wrong type or is out of range is an error that names the file, the key and the
nearest known key. Nothing is coerced. `--section.key=value` on the command line overrides a key of the file.
"""

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avdfd.datasets import tiers
from avdfd.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every config section: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class FaceConfig(Section):
    """How the face is found in videos that are not already 224x224 face crops."""

    detect_fps: PositiveFloat = 2.0
    """Detections per second of video. The crop follows the median of a face's boxes, one box until the shot changes."""
    min_score: float = 0.0
    """Detections with a lower confidence are ignored."""
    min_found: Fraction = 0.5
    """A window is left out when the face is found in a smaller part of the frames looked at."""
    margin: PositiveFloat = 1.5
    """Side of the square crop, as a multiple of the larger side of the face box."""


class MediaConfig(Section):
    """How a video file becomes windows of audio and face frames."""

    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; benchmarks/README.md has the comparison behind the default."""
    hop: PositiveFloat = 3.072
    """Seconds between the starts of successive windows; a smaller value than the window (3.072) overlaps them."""
    max_windows: Count = 0
    """At most this many windows of each clip, from its start; 0 takes all."""
    time_limit: PositiveFloat = 600.0
    """Seconds one file may take before its worker is killed and the file is listed."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    """Quality of the stored face frames (4:4:4 chroma)."""
    face: FaceConfig = FaceConfig()


class PreprocessConfig(Section):
    """`data/preprocess.py`: videos -> elements."""

    kind: Literal["preprocess"] = "preprocess"
    input: str
    """Root of the videos: FakeAVCeleb's folders, or `real/` and `fake/` folders."""
    output: str = "data/elements"
    """Folder of the element store."""
    tiers: list[str] = Field(default_factory=lambda: list(tiers.TIERS))
    """Tiers to take; others under the root are left out."""
    workers: Count = 0
    """Worker processes; 0 = one per core."""
    shard_clips: Positive = 256
    """Elements per tar shard."""
    max_quarantined: Fraction = 0.05
    """Exit with 1 when a larger part of the files could not be used."""
    media: MediaConfig = MediaConfig()

    @model_validator(mode="after")
    def _known_tiers(self) -> "PreprocessConfig":
        return _check_tiers(self, self.tiers)


class DataConfig(Section):
    """Which elements a training run sees."""

    elements: str = "data/elements"
    """Folder of the element store."""
    splits: str
    """Folder with train.txt, validation.txt and test.txt: one identity per line, disjoint."""
    fake_tiers: list[str]
    """Fake tiers used beside RVRA, in training and validation."""
    workers: Count = 4
    """Loader processes; 0 loads in the main process."""

    @model_validator(mode="after")
    def _known_tiers(self) -> "DataConfig":
        if "RVRA" in self.fake_tiers or not self.fake_tiers:
            raise ValueError("fake_tiers lists fake tiers only (RVRA is always there) and cannot be empty")
        return _check_tiers(self, self.fake_tiers)


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


class AudioModelConfig(Section):
    """Stage-1 audio encoder and its heads; the defaults are the published sizes."""

    dim: Positive = 512
    depth: Positive = 4
    heads: Positive = 4
    mlp_dim: Positive = 1024
    dropout: Fraction = 0.1
    patch_frames: Positive = 64
    """Mel frames per patch (4 ms each); must divide 768."""
    projection_dim: Positive = 256

    @model_validator(mode="after")
    def _divisible(self) -> "AudioModelConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if 768 % self.patch_frames:
            raise ValueError(f"patch_frames {self.patch_frames} must divide the 768 mel frames of a window")
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
    """Elements per step; stage 1 counts pairs (a fake and a real of the same identity)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Autocast type on a GPU; the CPU always computes in fp32."""


class SelectConfig(Section):
    """Which epoch becomes `best`, on validation only."""

    metric: Literal["auc", "ap"] = "auc"
    patience: Positive = 20
    """Stop after this many epochs without a new best."""


class Stage1LossConfig(Section):
    """Weights of the stage-1 losses."""

    temperature: PositiveFloat = 0.07
    margin: NonNegative = 0.2
    """Growth of the mean distance to the real prototype from class to class."""
    supcon: NonNegative = 1.0
    auxiliary: NonNegative = 1.0
    ordinal: NonNegative = 1.0


class Stage2LossConfig(Section):
    """Weights of the stage-2 losses beside BCE on the fused probability."""

    align: NonNegative = 0.5
    """Weight of the align/repel loss on the audio-visual mismatch."""
    margin: NonNegative = 0.5
    """Mismatch that fakes are pushed beyond."""
    consistency: NonNegative = 0.0
    """Weight of a BCE on the visual-consistency branch alone, so that it learns where the audio branch is right
    already; 0 is the published loss."""


class RunConfig(Section):
    """What every training run has."""

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


class PretrainConfig(RunConfig):
    """`pretrain.py`: stage 1, the audio branch."""

    kind: Literal["pretrain"] = "pretrain"
    model: AudioModelConfig = AudioModelConfig()
    loss: Stage1LossConfig = Stage1LossConfig()
    optim: OptimConfig = OptimConfig()


class TrainConfig(RunConfig):
    """`train.py`: stage 2, audio-to-visual prediction and fusion."""

    kind: Literal["train"] = "train"
    audio: str
    """Stage-1 run folder (its `best` checkpoint is used) or checkpoint file."""
    visual: VisualModelConfig = VisualModelConfig()
    predictor: PredictorConfig = PredictorConfig()
    loss: Stage2LossConfig = Stage2LossConfig()
    optim: OptimConfig = OptimConfig()
    backbone_lr_scale: NonNegative = 0.1
    """Learning rate of the visual backbone relative to lr; 0 freezes it."""


Config = PreprocessConfig | PretrainConfig | TrainConfig
RUNS: dict[str, type[PretrainConfig] | type[TrainConfig]] = {"pretrain": PretrainConfig, "train": TrainConfig}
C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=Section)


def load(path: str | Path, model: type[C], overrides: list[str] | None = None) -> C:
    """Reads a config file and applies `--section.key=value` overrides.

    Raises UserError naming the file, the key and the remedy.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file; the shipped ones are in config/") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config is one JSON object, this is a {type(values).__name__}")
    wanted = model.model_fields["kind"].default
    if values.get("kind") != wanted:
        given = values.get("kind")
        raise UserError(f'{path}: kind is {json.dumps(given)}, this script takes a config with kind "{wanted}"')
    for override in overrides or []:
        _apply(values, override)
    return parse(values, model, source=str(path))


def parse(values: dict[str, Any], model: type[S], source: str) -> S:
    """Turns plain values into a typed config. Raises UserError naming `source` and the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{source}: {_explain(model, problems[0])}{more}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    """Sets one `--section.key=value`; the value is JSON, or a plain string where it is not."""
    key, equals, text = override.removeprefix("--").partition("=")
    if not override.startswith("--") or not equals or not key:
        raise UserError(f"'{override}' is not an override: write --section.key=value")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UserError(f"'{override}': {section} is a value, not a section")
    values[last] = value


def _explain(model: type[BaseModel], problem: Any) -> str:
    """One pydantic problem in words: the dotted key, what is wrong, what would be right."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "config"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _keys(model), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "remove it, or see the keys in avdfd/config.py"
        return f"unknown key '{key}': {hint}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if location else message
    return f"key '{key}' is {json.dumps(problem['input'], default=str)}: {message[0].lower()}{message[1:]}"


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of a config model, sections included."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _keys(field.annotation, f"{prefix}{name}.")
    return keys


def _check_tiers(section: S, names: list[str]) -> S:
    for name in names:
        try:
            tiers.tier(name)
        except UserError as error:
            raise ValueError(str(error)) from None
    return section
