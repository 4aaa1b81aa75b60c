"""One JSON file -> one typed config.

An unknown key, a wrong type or a value out of range is an error that names the file, the key and the nearest valid
key. Nothing is coerced. `--section.key=value` on the command line overrides a key of the file.
"""

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from avdfd.config.base import S
from avdfd.core.errors import UserError


def load(path: str | Path, *models: type[S], overrides: list[str] | None = None, source: str = "") -> S:
    """Read a config file of one of these models and apply `--section.key=value` overrides.

    Raises UserError naming the file, the key and the remedy; a given `source` is named instead of the file.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such config file; the shipped ones are in config/") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a config is one JSON object, this is a {type(values).__name__}")
    by_kind = {model.model_fields["kind"].default: model for model in models}
    kind = values.get("kind")
    if kind not in by_kind:
        wanted = " or ".join(f'"{name}"' for name in by_kind)
        raise UserError(f"{path}: kind is {json.dumps(kind)}, this script takes a config with kind {wanted}")
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
        raise UserError(f"'{override}' is not an override: write --section.key=value")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UserError(f"'{override}': {section} is a value, not a section")
    values[last] = value


def _explain(model: type[BaseModel], problem: Any) -> str:
    """Describe one pydantic problem: the dotted key, the fault, the remedy."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "config"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, keys_of(model), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "remove it, or see the keys in avdfd/config"
        return f"unknown key '{key}': {hint}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if location else message
    return f"key '{key}' is {json.dumps(problem['input'], default=str)}: {message[0].lower()}{message[1:]}"


def keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return all dotted keys of a config model, sections included."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += keys_of(field.annotation, f"{prefix}{name}.")
    return keys
