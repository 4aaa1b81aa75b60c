"""`data/preprocess.py`: videos -> elements."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, Fraction, Positive, PositiveFloat, Section, check_tiers
from avdfd.datasets import tiers


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
        return check_tiers(self, self.tiers)
