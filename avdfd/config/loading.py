"""One JSON file -> one typed config.

An unknown key, a wrong type or a value out of range is an error that names the file, the key and the nearest valid
key. Nothing is coerced. `--section.key=value` on the command line overrides a key of the file.
"""

import difflib
import json
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from avdfd.config.base import S
from avdfd.core.errors import UserError
from avdfd.core.text import parse_json, read_json

_LONGEST = 200  # letters of a value in a message
_TYPES = {"int", "float", "bool", "str"}


def load(path: str | Path, *models: type[S], overrides: list[str] | None = None, source: str = "") -> S:
    """Read a config file of one of these models and apply `--section.key=value` overrides.

    Raises UserError naming the file, the key and the remedy; a given `source` is named instead of the file.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise UserError(f"{path}: no such config file; the shipped ones are in config/")
    values = read_json(path, unique=True)
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config is one JSON object, this is a {type(values).__name__}")
    by_kind = {model.model_fields["kind"].default: model for model in models}
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in by_kind:
        wanted = " or ".join(f'"{name}"' for name in by_kind)
        raise UserError(f"{path}: kind is {_shown(kind)}, this script takes a config with kind {wanted}")
    for override in overrides or []:
        _apply(values, override)
    return parse(values, by_kind[kind], source=source or str(path))


def parse(values: dict[str, Any], model: type[S], source: str) -> S:
    """Convert plain values to a typed config. Raises UserError naming `source` and the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[Any]] = {}
        for problem in error.errors():
            problems.setdefault(_key(problem), []).append(problem)
        key, first = next(iter(problems.items()))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{source}: {_explain(model, key, first)}{more}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `--section.key=value`, whose value is JSON or else a plain string."""
    key, equals, text = override.removeprefix("--").partition("=")
    if not override.startswith("--") or not equals or not key:
        raise UserError(f"{_short(override)!r} is not an override: write --section.key=value")
    try:
        value = parse_json(text)
    except ValueError:
        value = text
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UserError(f"{_short(override)!r}: {_short(section)} is a value, not a section")
    values[last] = value


def _key(problem: Any) -> str:
    """Return the dotted key of a pydantic problem, without its names of the types that a value may have."""
    names = [str(part) for part in problem["loc"]]
    unknown = problem["type"] == "extra_forbidden"
    return ".".join(names if unknown else takewhile(lambda name: "[" not in name and name not in _TYPES, names))


def _explain(model: type[BaseModel], key: str, problems: Sequence[Any]) -> str:
    """Describe the problems of one key, one for each type that its value may have: key, fault, remedy."""
    problem = problems[0]
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, keys_of(model), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "remove it, or see the keys in avdfd/config"
        return f"unknown key '{_short(key)}': {hint}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    messages = dict.fromkeys(f"{one['msg'][0].lower()}{one['msg'][1:]}" for one in problems)
    return f"key '{key or 'config'}' is {_shown(problem['input'])}: {', or '.join(messages)}"


def _shown(value: Any) -> str:
    return _short(json.dumps(value, default=str))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return all dotted keys of a config model, sections included."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for section in (field.annotation, *get_args(field.annotation)):  # of a section, or of one that may be null
            if isinstance(section, type) and issubclass(section, BaseModel):
                keys += keys_of(section, f"{prefix}{name}.")
    return keys
