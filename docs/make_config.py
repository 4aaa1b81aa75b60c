"""Write the reference part of docs/config.md from the field docstrings of `avdfd.config`.

    .venv/bin/python docs/make_config.py

Everything after the line MARK is replaced; the part before it is written by hand.
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pydantic_core import PydanticUndefined  # noqa: E402

from avdfd import config  # noqa: E402
from avdfd.config.base import Section  # noqa: E402

PAGE = ROOT / "docs" / "config.md"
MARK = "<!-- Written by docs/make_config.py from avdfd/config: change the docstrings there. -->"
SCRIPTS: tuple[type[Section], ...] = (
    config.PreprocessConfig,
    config.ParityConfig,
    config.CloneConfig,
    config.ResynthesisConfig,
    config.PretrainConfig,
    config.ConsistencyStageConfig,
    config.TrainConfig,
    *config.BASELINES,
    config.SearchConfig,
    config.AblationConfig,
)
"""Configs of the scripts, in the order of the pipeline."""


def reference() -> str:
    """Markdown of all keys: one table for each config, then one for each of their sections."""
    sections: dict[str, type[Section]] = {}
    tables = []
    for model in SCRIPTS:
        _collect(model, sections)
        kind = model.model_fields["kind"].default
        tables.append(f"### kind `{kind}`\n\n{textwrap.fill(_docstring(model), 118)}\n\n{_table(model)}")
    tables.append("## Sections\n\nSections that the tables above link to.")
    tables += [
        f"### {name}\n\n{textwrap.fill(_docstring(model), 118)}\n\n{_table(model)}"
        for name, model in sorted(sections.items())
    ]
    return "\n\n".join(tables) + "\n"


def page() -> str:
    """The whole page, with its reference part written anew."""
    by_hand, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert mark, f"{PAGE} has no line {MARK}"
    return f"{by_hand}{MARK}\n\n{reference()}"


def _collect(model: type[Section], found: dict[str, type[Section]]) -> None:
    for field in model.model_fields.values():
        for part in _sections(field.annotation):
            if part.__name__ not in found:
                found[part.__name__] = part
                _collect(part, found)


def _sections(annotation: Any) -> list[type[Section]]:
    """Section classes in a type, however deep: in unions, lists and dictionaries."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [part for inner in getattr(annotation, "__args__", ()) for part in _sections(inner)]


def _table(model: type[Section]) -> str:
    properties = model.model_json_schema()["properties"]
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        parts = _sections(field.annotation)
        meaning = " ".join((field.description or "").split())
        if not meaning and name == "kind":
            meaning = "Kind of the config."
        meaning = meaning or " ".join(_docstring(parts[0]).split())
        rows.append(
            f"| `{name}` | {_type(properties[name])} | {_default(field)} | {meaning.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(rows)


def _type(schema: dict[str, Any]) -> str:
    """JSON schema of a key in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "any" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(option) for option in options)
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        return f"object of {_type(schema.get('additionalProperties', {}))}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:.12g}" for key, sign in limits.items() if key in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _default(field: Any) -> str:
    if field.default_factory is None and field.default is PydanticUndefined:
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        kind = getattr(value, "kind", None)
        return f"`{json.dumps(kind)}`" if kind else "its defaults"
    return f"`{json.dumps(value)}`"


def _docstring(model: type[Section]) -> str:
    return " ".join((model.__doc__ or "").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
