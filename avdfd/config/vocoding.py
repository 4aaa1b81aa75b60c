"""`data/preprocessing/resynthesise.py`: fakes re-synthesised from real speech."""

from typing import Any, Literal

from pydantic import Field, model_validator

from avdfd.config.base import Fraction, PathName, Positive, PositiveFloat, Section, Workers

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
REAL_WAYS = ("griffin-lim", "mel-griffin-lim", "mel-phase", "quantised", "world", "telephone", "opus")
"""Ways that change neither speaker nor words."""


class ResynthesisConfig(Section):
    """`data/preprocessing/resynthesise.py`: fakes re-synthesised from real speech."""

    kind: Literal["resynthesis"] = "resynthesis"
    input: PathName
    """Root of the speech, in any layout of `avdfd.corpora.layouts`."""
    output: PathName
    """Root of the same clips and their re-synthesised fakes, outside of `input`."""
    real: bool = False
    """Call what is made real, of the tier RVRA-V: vocoded or coded speech of the same speaker and words, on which false
    alarms are measured. It is not trained on."""
    ways: list[str] = Field(default_factory=lambda: list(WAYS), min_length=1)
    """Methods of re-synthesis; each real clip is re-synthesised once with each of them. With `real` by default
    griffin-lim, mel-griffin-lim, mel-phase, quantised, world, telephone and opus, and no others."""
    per_page: Positive | None = None
    """Real clips of a page that are re-synthesised: if it has more, those whose source (the path in `input`) has the
    smallest SHA-256, whatever the order. null is all of them."""
    workers: Workers = 0
    """Worker processes; 0 = one per core."""
    time_limit: PositiveFloat = 300.0
    """Seconds allowed for one file before its worker is killed and the file is listed."""
    max_problems: Fraction = 0.05
    """Exit with 1 if a larger fraction of the fakes could not be made."""

    @model_validator(mode="before")
    @classmethod
    def _ways_of_real_clips(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("real") is True and "ways" not in values:
            return {**values, "ways": [*REAL_WAYS]}
        return values

    @model_validator(mode="after")
    def _known_ways(self) -> "ResynthesisConfig":
        known = REAL_WAYS if self.real else WAYS
        for way in self.ways:
            if way not in known:
                kind = " that keeps the speaker" if self.real else ""
                raise ValueError(f"ways: no way '{way}'{kind}; use some of {', '.join(known)}")
        if len({*self.ways}) < len(self.ways):
            raise ValueError("ways: one is there twice; remove it")
        return self
