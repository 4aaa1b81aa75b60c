"""`data/preprocessing/codec_parity.py`: videos -> the same videos with the audio of one common chain."""

from typing import Literal

from pydantic import Field, model_validator

from avdfd.config.audio import ChainConfig
from avdfd.config.base import Fraction, PathName, PositiveFloat, Section, Workers, check_tiers
from avdfd.core import tiers


class ParityConfig(Section):
    """`data/preprocessing/codec_parity.py`: videos -> the same videos with the audio of one common chain."""

    kind: Literal["parity"] = "parity"
    input: PathName
    """Root of the videos, in any layout of `avdfd.corpora.layouts`."""
    output: PathName
    """Root of the new videos, outside of `input`."""
    tiers: list[str] = Field(default_factory=lambda: list(tiers.TIERS), min_length=1)
    """Tiers to include; others under the root are left out."""
    sound: bool = False
    """Include audio files, which become WAV."""
    workers: Workers = 0
    """Worker processes; 0 = one per core."""
    time_limit: PositiveFloat = 300.0
    """Seconds allowed for one file before its worker is killed and the file is listed."""
    max_problems: Fraction = 0.05
    """Exit with 1 if a larger fraction of the files could not be made."""
    chain: ChainConfig = ChainConfig()

    @model_validator(mode="after")
    def _known_tiers(self) -> "ParityConfig":
        return check_tiers(self, self.tiers)
