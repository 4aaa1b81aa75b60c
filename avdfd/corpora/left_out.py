"""The list of what an input has beside the clips that a script reads: left_out.csv."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from avdfd.core.clips import Entry, Files

LEFT_OUT = "left_out.csv"
NO_MEDIA = "no media file, by its suffix and content"
COLUMNS = ("source", "start", "end", "reason")
"""Columns of the list: a window has its times in seconds; a file or row of a table has none."""


class LeftOut(NamedTuple):
    """A file or a row of a table that a script does not read."""

    source: str
    reason: str
    mismatch: bool = False
    """True for a file without a row, and a row without a file."""


def left_out(
    entries: Iterable[Entry], others: Iterable[tuple[str, str]], tiers: Sequence[str] | None = None
) -> list[LeftOut]:
    """Return what is left out of a root: mismatches, clips of other tiers than `tiers`, and `others`; by source."""
    lines = [LeftOut(*other) for other in others]
    for entry in entries:
        if entry.problem:
            lines.append(LeftOut(entry.clip.source, entry.problem, mismatch=True))
        elif tiers is not None and entry.clip.tier not in tiers:
            lines.append(LeftOut(entry.clip.source, of_another_tier(entry.clip.tier)))
    return sorted(lines)


def search(root: Path, output: Path | None = None) -> Files | None:
    """Return the files below the root of a list or manifest, but for an output; None for `/`, which contains all."""
    own = None if output is None else os.path.relpath(output, root)
    return None if root.resolve() == Path("/") else Files(root, skip=lambda folder: folder == own)


def unlisted(files: Files | None, sources: Collection[str], lists: Sequence[Path]) -> list[tuple[str, str]]:
    """Return path and reason of everything below a root that lists do not name; `sources` are what they name."""
    if files is None:
        return []
    own = {os.path.relpath(path, files.root) for path in lists}
    elsewhere = f"not listed in {', '.join(map(str, lists))}"
    return [
        (source, reason or why_no_clip(files, source, elsewhere))
        for source, reason in files.all.items()
        if source not in sources and source not in own
    ]


def why_no_clip(files: Files, source: str, elsewhere: str) -> str:
    """Return why a file is no clip: `elsewhere` for a media file, which is not where or as clips are."""
    if source in files.present:
        return elsewhere
    return "a hidden file" if source.rpartition("/")[2].startswith(".") else NO_MEDIA


def of_another_tier(tier: str) -> str:
    """Return the reason why a clip of a tier is left out."""
    return f"of the tier {tier}, which `tiers` does not name"


def as_rows(lines: Iterable[LeftOut]) -> list[tuple[str, str, str, str]]:
    """Return the rows of left_out.csv."""
    return [(line.source, "", "", line.reason) for line in lines]


def summary(lines: Sequence[LeftOut]) -> str:
    """Return the numbers of files and rows left out by reason, on one line; empty if there are none."""
    counts = Counter(line.reason for line in lines)
    return "; ".join(f"{count} {reason}" for reason, count in counts.most_common())
