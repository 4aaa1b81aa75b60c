"""Configs that runs have saved, also with an earlier version of the code.

A key that is newer than a saved config means what its run did. Mostly that is the key's default; the others are here.
"""

from typing import Any

from avdfd.config.base import S
from avdfd.config.loading import parse

_FORMER: dict[str, dict[str, Any]] = {
    "train": {"visual.normalisation": "imagenet"},
    "avff": {"model.normalisation": "imagenet"},
}
"""Kind of config -> dotted keys whose default differs from what was done before they existed, and what was done."""


def completed(values: dict[str, Any]) -> dict[str, Any]:
    """Return a saved config with the keys of `_FORMER` that it lacks."""
    former = _FORMER.get(str(values.get("kind")), {})
    for key, value in former.items():
        *sections, last = key.split(".")
        values = _with(values, sections, last, value)
    return values


def parse_saved(values: dict[str, Any], model: type[S], source: str) -> S:
    """Convert a saved config to a typed one. Raises UserError naming `source` and the key."""
    return parse(completed(values), model, source)


def _with(values: dict[str, Any], sections: list[str], last: str, value: Any) -> dict[str, Any]:
    """Set a key, unless it is there or its section is none."""
    if not sections:
        return {last: value, **values}
    inner = values.get(sections[0], {})
    return {**values, sections[0]: _with(inner, sections[1:], last, value)} if isinstance(inner, dict) else values
