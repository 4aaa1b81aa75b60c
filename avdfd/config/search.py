"""`search.py`: the settings of a training script to try, and the seeds to try them with."""

import math
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from avdfd.config.base import Count, FolderName, PathName, Section, Seed

Choices = Annotated[list[JsonValue], Field(min_length=1)]

SET_BY_THE_SEARCH = {"kind", "name", "runs", "seed"}
MOST_RUNS = 10_000
"""Most runs of a search or an ablation."""
_WHAT_IS_MEASURED = {"data.splits", "data.fake_tiers", "data.validation_tiers", "select.metric"}


class DrawConfig(Section):
    """Distribution of a value: a range, or a list, which may also be written in place of this section."""

    low: float | None = None
    """Lower end of the range."""
    high: float | None = None
    """Upper end of the range; for integer keys both ends can be drawn."""
    log: bool = False
    """Draw uniformly in the logarithm."""
    choices: Choices | None = None
    """List to draw from, in place of a range."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "DrawConfig":
        ends = (self.low, self.high)
        if (self.choices is None) == (ends == (None, None)) or (self.choices and self.log):
            raise ValueError("draw from low and high, uniformly or with log, or from a list")
        if self.choices is None and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("a range needs low and high, low below high")
        if self.log and (self.low or 0) <= 0:
            raise ValueError("log needs low above 0")
        return self


class SearchConfig(Section):
    """`search.py`: one training run for each setting and seed. Keys of `grid`, `random` and `overrides` are those of
    `config`, dotted or nested."""

    kind: Literal["search"] = "search"
    name: FolderName
    """Folder of the search: `<runs>/<name>`, with a run folder for each setting and seed."""
    runs: PathName = "runs"
    """Folder of all run folders."""
    config: PathName
    """Config of the training run that is varied; its kind selects the training script."""
    grid: dict[str, Choices] = Field(default_factory=dict)
    """Values of each key; all combinations are tried. With neither grid nor `random`, the config itself is tried."""
    random: dict[str, DrawConfig] = Field(default_factory=dict)
    """Distribution of each key, in place of a grid."""
    trials: Count = 0
    """Number of random settings. A larger number keeps the settings drawn before."""
    draw_seed: Seed = 0
    """Seed of the random settings."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [0])
    """Seeds with which every setting is trained."""
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    """Changes to all runs."""

    @field_validator("grid", "overrides", mode="before")
    @classmethod
    def _dotted_keys(cls, values: Any) -> Any:
        return dotted(values)

    @field_validator("random", mode="before")
    @classmethod
    def _lists_are_choices(cls, values: Any) -> Any:
        values = dotted(values, leaf=DrawConfig.model_fields.keys())
        if not isinstance(values, dict):
            return values
        return {key: {"choices": value} if isinstance(value, list) else value for key, value in values.items()}

    @model_validator(mode="after")
    def _consistent(self) -> "SearchConfig":
        if self.grid and self.random:
            raise ValueError("grid and random exclude each other: write the values of the grid as lists in random")
        if bool(self.random) != bool(self.trials):
            raise ValueError("random needs trials, and trials needs random")
        check_runs((self.trials or math.prod(map(len, self.grid.values()))) * len(self.seeds))
        varied = {*self.grid, *self.random}
        for key in sorted({*varied, *self.overrides} & SET_BY_THE_SEARCH):
            raise ValueError(f"{key} is set by the search: leave it out" + (", and use seeds" if key == "seed" else ""))
        for key in sorted(varied & _WHAT_IS_MEASURED):
            raise ValueError(f"{key} changes what is measured, so its values cannot be compared: use one search each")
        for key in sorted(varied & {*self.overrides}):
            raise ValueError(f"{key} is both varied and overridden: leave it out of one of them")
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError("seeds has one of them twice")
        return self


def check_runs(count: int) -> None:
    """Raise ValueError for more runs than anybody would train."""
    if count > MOST_RUNS:
        raise ValueError(f"settings and seeds give {count} runs, more than {MOST_RUNS}: name fewer values or seeds")


def dotted(values: Any, leaf: Collection[str] = (), prefix: str = "") -> Any:
    """Flatten {"optim": {"lr": x}} to {"optim.lr": x}; of equal keys the last one counts, and a section with keys of
    `leaf` is a value.

    A file writes dotted keys, an override on the command line nests them.
    """
    if not isinstance(values, dict):
        return values
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and not {*leaf} & {*value}:
            flat |= dotted(value, leaf, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
