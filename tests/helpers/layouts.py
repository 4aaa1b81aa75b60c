"""Roots of empty files, and what a layout lists in them."""

from pathlib import Path

from avdfd.core.clips import Entry
from avdfd.corpora.layouts import find_layout, list_entries


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(root: Path, layout: str) -> dict[str, Entry]:
    """Return entries by source; the layout must also be the detected one."""
    assert find_layout(root) == layout
    return {entry.clip.source: entry for entry in list_entries(root)}
