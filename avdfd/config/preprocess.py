"""`data/preprocess.py`: videos -> elements."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from avdfd.config.base import (
    Count,
    Fraction,
    NonNegative,
    PathName,
    Positive,
    PositiveFloat,
    Section,
    Workers,
    check_tiers,
)
from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.core import tiers

Kept = Literal["waveform", "mel", "frames", "landmarks"]
_KEPT: tuple[Kept, ...] = ("waveform", "mel", "frames")


class FaceConfig(Section):
    """Face detection in videos that are not already 224x224 face crops."""

    detect_fps: PositiveFloat = 2.5
    """Frames per second of video in which faces are searched for, more while one moves. Their places in between are
    interpolated, and smoothed: the crop follows the face."""
    min_score: float = 0.5
    """Faces with a lower confidence are ignored: 0.5 to 0.95. A value outside counts as the nearest of these, because
    earlier versions had another scale."""
    min_found: Fraction = 0.9
    """A window is left out when no face is inside its crop in at least this fraction of the frames."""
    margin: PositiveFloat = 1.5
    """Side of the square crop, as a multiple of the larger side of the face from the brows to the chin."""


class MediaConfig(Section):
    """Conversion of a video file to windows of audio and face frames, or to whole clips of them."""

    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; docs/benchmarks.md has the comparison behind the default."""
    keep: list[Kept] = Field(default_factory=lambda: [*_KEPT])
    """Contents that are stored. Without frames only the audio is read, and audio files are accepted too; without mel,
    readers compute it from the waveform. `landmarks` are points of the face mesh in each frame, by which models know
    the shape of the mouth."""
    hop: Annotated[float, Field(ge=0.04)] = 3.072
    """Seconds between the starts of successive windows, 0.04 (a frame) or more; a smaller value than the window (3.072)
    overlaps them."""
    max_windows: Count = 0
    """At most this many windows of each clip, from its start; 0 takes all."""
    whole: bool = False
    """Store whole clips instead of windows, for systems that take them (MRDF, countermeasures): an element for each
    stretch of at least 1 s in which audio and video are both continuous. Set keep to waveform and frames, or to
    waveform; hop and max_windows do not apply."""
    max_seconds: Annotated[float, Field(ge=1, le=60)] = 20.0
    """Longest whole clip; later seconds are left out. 20 s are the 500 frames that MRDF takes."""
    short: bool = True
    """Take clips of 1 s or more that are shorter than a window. Their audio and frames are repeated together, from the
    start of the clip, until they fill a window. false: they are listed and left out."""
    repeat_short: bool = False
    """Audio alone, without frames: take clips of any duration, as AASIST does, those below 1 s too."""
    trim_silence: bool = False
    """Leave out leading and trailing silence of a clip, together with its frames."""
    min_fake: NonNegative | None = None
    """Without effect, and accepted for configs written before: windows of fakes without a fake second were left out
    here. All windows are stored now, and `data.min_fake` of a training run chooses among them."""
    time_limit: PositiveFloat = 600.0
    """Seconds allowed for one file before its worker is killed and the file is listed."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    """Quality of the stored face frames (4:4:4 chroma)."""
    mel_err: ReconstructionConfig | None = None
    """A diffusion model whose reconstruction error of the mel is stored too."""
    face: FaceConfig | None = FaceConfig()
    """Face detection in videos that are not already 224x224 face crops. null: no face is needed or looked for, and the
    whole frame is resized to 224x224, whatever its proportions, as OpenAVFF does in training."""

    @model_validator(mode="after")
    def _keeps_audio(self) -> "MediaConfig":
        if not {"waveform", "mel"} & {*self.keep}:
            raise ValueError("keep: name waveform, mel or both; frames without audio are no elements")
        if self.repeat_short and "frames" in self.keep:
            raise ValueError("repeat_short is for audio alone: with frames, clips of 1 s or more are taken")
        if "landmarks" in self.keep and "frames" not in self.keep:
            raise ValueError("keep: landmarks are those of the frames; name frames, too")
        if self.whole and ("mel" in self.keep or self.mel_err is not None):
            raise ValueError(
                "whole: whole clips have no mel: set keep to waveform and frames, or to waveform, and mel_err to null"
            )
        return self


class PreprocessConfig(Section):
    """`data/preprocess.py`: videos -> elements."""

    kind: Literal["preprocess"] = "preprocess"
    input: PathName
    """Root of the clips, in one of the layouts of avdfd/corpora/layouts.py."""
    manifest: str = ""
    """Manifest of the root (data/preprocessing/make_manifest.py), whose files are read; others are listed."""
    csv: list[str] = Field(default_factory=list)
    """Lists of videos below the root, or one list, as OpenAVFF has them: `video_name,target` with 1 for fake. Other
    files below the root are listed."""
    output: PathName = "data/elements"
    """Folder of the element store."""
    tiers: list[str] = Field(default_factory=lambda: list(tiers.TIERS))
    """Tiers to include; others under the root are left out."""
    workers: Workers = 0
    """Worker processes; 0 = one per core."""
    shard_clips: Positive = 256
    """Elements per tar shard."""
    max_quarantined: Fraction = 0.05
    """Exit with 1 if a larger fraction of the files could not be used. Files that no table lists count, and so do rows
    without a file."""
    media: MediaConfig = MediaConfig()

    @field_validator("csv", mode="before")
    @classmethod
    def _one_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_tiers(self) -> "PreprocessConfig":
        if self.csv and self.manifest:
            raise ValueError("csv and manifest both list the files: give one of them")
        return check_tiers(self, self.tiers)
