"""Comparison of configs: of two runs, or of a run and its resumption."""

from typing import Any

FREE = {
    *("runs", "device", "data.workers", "data.home", "data.decode", "select.patience", "save_minutes"),
    *("max_bad_steps", "micro_batch", "finetune.micro_batch", "speed", "tracking"),
    "model.front.file",  # its content is known by model.front.sha256
}
"""Dotted keys of configs that may change when a run resumes: where, how fast and on how many processes it runs, and
tracking."""


def different_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys whose values differ, with both values, without those in FREE."""
    changed = []
    for key in sorted(old.keys() | new.keys()):
        name, before, after = f"{prefix}{key}", old.get(key), new.get(key)
        if name in FREE:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            changed += different_keys(before, after, f"{name}.")
        elif before != after:
            changed.append(f"'{name}' ({before} -> {after})")
    return changed
