"""`ablate.py`: the method and changes to it, as the rows of one table."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from avdfd.config.base import FolderName, PathName, Section, Seed
from avdfd.config.search import SET_BY_THE_SEARCH, check_runs, dotted

_THE_SAME_CLIPS = {"data.elements", "data.splits"}


class ChangesConfig(Section):
    """Changes to the configs of both stages; keys are those of the configs, dotted or nested."""

    pretrain: dict[str, JsonValue] = Field(default_factory=dict)
    """Changes to stage 1. Rows with the same changes share one stage 1."""
    train: dict[str, JsonValue] | None = Field(default_factory=dict)
    """Changes to stage 2; null for a row without stage 2, which is the audio branch by itself."""

    @field_validator("pretrain", "train", mode="before")
    @classmethod
    def _dotted_keys(cls, values: Any) -> Any:
        return dotted(values)

    @model_validator(mode="after")
    def _left_to_the_ablation(self) -> "ChangesConfig":
        for key in sorted(self.changed_keys() & {*SET_BY_THE_SEARCH, "audio"}):
            raise ValueError(
                f"{key} is set by the ablation: leave it out" + (", and use seeds" if key == "seed" else "")
            )
        return self

    def changed_keys(self) -> set[str]:
        """Return all keys that are changed in either stage."""
        return {*self.pretrain, *(self.train or {})}


class AblationConfig(Section):
    """`ablate.py`: both stages of the method for each row and seed, evaluated on test."""

    kind: Literal["ablation"] = "ablation"
    name: FolderName
    """Folder of the ablation: `<runs>/<name>`, with a run folder for each row, stage and seed."""
    runs: PathName = "runs"
    """Folder of all run folders."""
    pretrain: PathName
    """Config of stage 1."""
    train: PathName
    """Config of stage 2; its `audio` is set by the ablation."""
    rows: Annotated[dict[str, ChangesConfig], Field(min_length=1)]
    """Changes by row name. The others are compared with the first row, the full method."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [0])
    """Seeds with which every row is trained, in both stages."""
    overrides: ChangesConfig = ChangesConfig()
    """Changes to all rows."""

    @model_validator(mode="after")
    def _consistent(self) -> "AblationConfig":
        check_runs(len(self.rows) * len(self.seeds))
        for name, row in self.rows.items():
            for key in sorted(row.changed_keys() & _THE_SAME_CLIPS):
                raise ValueError(f"{name}: {key} must be the same for all rows, which are judged on the same clips")
        if self.overrides.train is None:
            raise ValueError("overrides.train is null: write {} to change nothing")
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError("seeds has one of them twice")
        return self
