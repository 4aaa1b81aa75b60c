"""One JSON file -> one typed config.

An unknown key, a wrong type or a value out of range is an error that names the file, the key and the nearest valid
key. Nothing is coerced. `--section.key=value` on the command line overrides a key of the file.
"""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from avdfd.config.base import S
from avdfd.core.errors import UserError
from avdfd.core.text import parse_json, read_json

_LONGEST = 200  # letters of a value in a message


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
        problems = error.errors()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{source}: {_explain(model, problems[0])}{more}") from None


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


def _explain(model: type[BaseModel], problem: Any) -> str:
    """Describe one pydantic problem: the dotted key, the fault, the remedy."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "config"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, keys_of(model), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "remove it, or see the keys in avdfd/config"
        return f"unknown key '{_short(key)}': {hint}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if location else message
    return f"key '{key}' is {_shown(problem['input'])}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    return _short(json.dumps(value, default=str))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return all dotted keys of a config model, sections included."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += keys_of(field.annotation, f"{prefix}{name}.")
    return keys
