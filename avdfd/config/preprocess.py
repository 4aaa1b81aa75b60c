"""`data/preprocess.py`: videos -> elements."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from avdfd.config.base import Count, Fraction, NonNegative, Positive, PositiveFloat, Section, check_tiers
from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.core import tiers

Kept = Literal["waveform", "mel", "frames"]


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
    keep: list[Kept] = Field(default_factory=lambda: list(get_args(Kept)))
    """Parts that are stored. Without frames only the sound is read, and sound files are taken too; without mel, readers
    compute it from the waveform."""
    hop: PositiveFloat = 3.072
    """Seconds between the starts of successive windows; a smaller value than the window (3.072) overlaps them."""
    max_windows: Count = 0
    """At most this many windows of each clip, from its start; 0 takes all."""
    repeat_short: bool = False
    """Sound shorter than a window is repeated until it fills one, as AASIST does, where no frames are kept; else a clip
    like that is listed and left out."""
    trim_silence: bool = False
    """Leave out silence before and after the sound of a clip, with the pictures of that time."""
    min_fake: NonNegative = 0.1
    """Where a data set says which seconds of a clip are fake, windows with less of them than this are left out."""
    time_limit: PositiveFloat = 600.0
    """Seconds one file may take before its worker is killed and the file is listed."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    """Quality of the stored face frames (4:4:4 chroma)."""
    mel_err: ReconstructionConfig | None = None
    """A diffusion model whose reconstruction error is stored beside the mel."""
    face: FaceConfig = FaceConfig()

    @model_validator(mode="after")
    def _keeps_sound(self) -> "MediaConfig":
        if not {"waveform", "mel"} & {*self.keep}:
            raise ValueError("keep: name waveform, mel or both; frames without sound are no elements")
        if self.repeat_short and "frames" in self.keep:
            raise ValueError("repeat_short is for sound alone: there is no picture of what is heard twice")
        return self


class PreprocessConfig(Section):
    """`data/preprocess.py`: videos -> elements."""

    kind: Literal["preprocess"] = "preprocess"
    input: str
    """Root of the clips, in one of the layouts of avdfd/corpora/layouts.py."""
    manifest: str = ""
    """Manifest of the root (data/preprocessing/make_manifest.py), which is then not searched for files."""
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
        return check_tiers(self, self.tiers)
