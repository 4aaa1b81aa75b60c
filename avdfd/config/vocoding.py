"""`data/preprocessing/resynthesise.py`: fakes of our own, made of real speech."""

from typing import Literal

from pydantic import Field, model_validator

from avdfd.config.base import Count, Fraction, PositiveFloat, Section

WAYS = (
    "griffin-lim",
    "mel-griffin-lim",
    "mel-phase",
    "quantised",
    "world",
    "shifted",
    "world-shifted",
    "linear-prediction",
    "harmonics-and-noise",
)
"""Ways of `avdfd.corpora.vocoding`."""


class ResynthesisConfig(Section):
    """`data/preprocessing/resynthesise.py`."""

    kind: Literal["resynthesis"] = "resynthesis"
    input: str
    """Root of the speech, in any layout of `avdfd.corpora.layouts`."""
    output: str
    """Root of the same clips and the fakes made of them, outside of `input`."""
    ways: list[str] = Field(default_factory=lambda: list(WAYS), min_length=1)
    """How speech is made again; each real clip once in each of them."""
    workers: Count = 0
    """Worker processes; 0 = one per core."""
    time_limit: PositiveFloat = 300.0
    """Seconds one file may take before its worker is killed and the file is listed."""
    max_problems: Fraction = 0.05
    """Exit with 1 when a larger part of the fakes could not be made."""

    @model_validator(mode="after")
    def _known_ways(self) -> "ResynthesisConfig":
        for way in self.ways:
            if way not in WAYS:
                raise ValueError(f"ways: no way '{way}'; use some of {', '.join(WAYS)}")
        return self
