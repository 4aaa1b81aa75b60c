"""The list of what an input has beside the clips that a script reads: left_out.csv."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from avdfd.core.clips import Entry

LEFT_OUT = "left_out.csv"
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
