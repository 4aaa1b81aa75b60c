"""A trained model as one safetensors file for sharing, which is read without running code.

Everything that is needed to use the weights is JSON in the file's header, so the file alone is enough. Its sha256 and
the same metadata as readable JSON are written beside it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import safetensors.torch
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avdfd import config
from avdfd.config import (
    AudioModelConfig,
    BaselineConfig,
    ConsistencyModelConfig,
    ConsistencyStageConfig,
    MediaConfig,
    PretrainConfig,
    TrainConfig,
)
from avdfd.config.base import Positive, Section
from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file, read_sha256, sha256_of, sha256_path, write_atomic, write_sha256
from avdfd.core.text import parse_json

_KEY = "avdfd"
"""Key of the metadata in the header. A single one, as safetensors writes several in no fixed order."""


class RunFacts(Section):
    """Metadata of weights: everything needed to use them, and their origin."""

    config: Annotated[
        PretrainConfig | ConsistencyStageConfig | TrainConfig | BaselineConfig, Field(discriminator="kind")
    ]
    """Config of the run."""
    audio_model: AudioModelConfig | None = None
    """Sizes of the audio branch, for both stages of the method."""
    consistency_model: ConsistencyModelConfig | None = None
    """Predictor of the mouth, for stage 2a and for a stage 2 with three branches."""
    stage: str | None = None
    """Stage of a baseline."""
    epoch: Positive | None = None
    """Best epoch; None for weights that were not trained here."""
    metric: str | None = None
    """Validation metric that selected the epoch."""
    value: float | None = None
    """Value of the metric."""
    git: str
    """Revision of the code."""
    media: MediaConfig | None = None
    """Settings by which the elements of the training were cut from files; None if they are unknown."""

    @model_validator(mode="after")
    def _complete(self) -> "RunFacts":
        config = self.config
        needed = ["stage"]
        if isinstance(config, PretrainConfig | TrainConfig):
            needed = ["audio_model"]
        if isinstance(config, ConsistencyStageConfig):
            needed = ["consistency_model"]
        elif isinstance(config, TrainConfig) and config.consistency is not None:
            needed.append("consistency_model")
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"key '{key}' is missing")
        return self


class Weights(NamedTuple):
    """A state dict and its metadata."""

    facts: RunFacts
    model: dict[str, Tensor]


def save(path: Path, model: Mapping[str, Tensor], facts: RunFacts) -> None:
    """Write weights atomically, then their sha256 and `<stem>.json` beside them.

    A full disk raises OSError and leaves the previous weights in place.
    """
    known = facts.model_dump()
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.items()}
    data = safetensors.torch.save(tensors, metadata={_KEY: json.dumps(known)})
    readable = path.with_suffix(".json")
    with atomic_file(path) as file:
        file.write(data)
        file.flush()
        # The files beside it belong to the previous weights. Weights without a sha256 are valid, with a wrong one not.
        for beside in (sha256_path(path), readable):
            beside.unlink(missing_ok=True)
    digest = write_sha256(path, data)
    write_atomic(readable, (json.dumps({**known, "sha256": digest}, indent=2) + "\n").encode())


def load(path: Path, *kinds: str) -> Weights:
    """Read weights written by `save` for a config of one of these kinds; check the sha256 if it is beside the file.

    Raises UserError for a missing, damaged or foreign file, and for another kind of run.
    """
    with _opened(path, kinds) as (facts, file):
        return Weights(facts, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118


def facts_of(path: Path, *kinds: str) -> RunFacts:
    """Read the metadata of weights; see `load`."""
    with _opened(path, kinds) as (facts, _):
        return facts


def has_facts(path: Path) -> bool:
    """Return True if a file has the metadata of a run, as `save` writes it; False for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except SafetensorError:
        return False


@contextmanager
def _opened(path: Path, kinds: tuple[str, ...]) -> Iterator[tuple[RunFacts, Any]]:
    """Open a file of weights; yield its metadata and the file."""
    if not path.is_file():
        if path.exists():
            raise UserError(f"{path}: not a file; expected the weights of a run")
        raise UserError(f"{path}: no such weights; run the earlier stage first or correct the path")
    expected = read_sha256(path)
    if expected is not None and expected != sha256_of(path):
        raise UserError(f"{path}: damaged, its sha256 differs from {sha256_path(path).name}; get both files again")
    try:
        with safe_open(path, framework="pt") as file:
            yield _parse(path, (file.metadata() or {}).get(_KEY), kinds), file
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None


def _parse(path: Path, text: str | None, kinds: tuple[str, ...]) -> RunFacts:
    if text is None:
        raise UserError(f"{path}: weights without the metadata of a run; name a run folder or its {path.name}")
    try:
        known: Any = parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: the metadata in its header is not JSON ({error}); get the file again") from None
    settings = known.get("config") if isinstance(known, dict) else None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: the metadata in its header has no config; get the file again")
    found = settings.get("kind")
    if found not in kinds:
        raise UserError(f"{path}: a model of '{found}', expected one of '{' or '.join(kinds)}'")
    known = {**known, "config": config.completed(settings)}
    if isinstance(known.get("consistency_model"), dict):
        known["consistency_model"] = config.completed_mouth(known["consistency_model"])
    return config.parse(known, RunFacts, source=str(path))
