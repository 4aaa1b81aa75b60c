"""Writer of clip lists: CSV files of split, identity and source, and a split.json that describes them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.core.clips import ClipMeta
from avdfd.core.files import csv_text, sha256_of, write_atomic, write_csv
from avdfd.splits.lists import CLIP_COLUMNS, SPLIT_JSON, SPLITS

UNKNOWN_METHODS = "unknown_methods"
"""Key of split.json: the methods that the table of families of page_disjoint does not know."""


class SplitRow(NamedTuple):
    """Clip of a split list."""

    split: str
    identity: str
    source: str


@dataclass
class SplitList:
    """Rows of a split list, and the clips that were left out of it."""

    rows: list[SplitRow]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> number of clips."""
    listed: list[tuple[str, str]] = field(default_factory=list)
    """Source and reason of every clip left out, for protocols that list them."""

    def reasons(self) -> str:
        """Return the numbers of clips left out by reason, on one line; empty if there are none."""
        return "; ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)


def save(
    folder: Path,
    protocol: str,
    seed: int,
    lists: Mapping[str, SplitList],
    clips: Iterable[ClipMeta],
    inputs: Iterable[Path] = (),
    **more: Any,
) -> list[str]:
    """Write each list as `<name>.csv`, left_out.csv if clips left out are listed, and split.json last.

    split.json has the counts and the hash of each list, the hashes of the input files, and `more` facts by name. Return
    a line per list.
    """
    tier_of = {clip.source: clip.tier for clip in clips}
    facts, lines = {}, []
    for name, one in lists.items():
        data = csv_text([CLIP_COLUMNS, *one.rows]).encode()
        write_atomic(folder / f"{name}.csv", data)
        facts[f"{name}.csv"] = {"sha256": hashlib.sha256(data).hexdigest(), **_counts(one, tier_of)}
        identities = facts[f"{name}.csv"]["identities"]
        left_out = one.reasons()
        lines.append(
            f"{folder / name}.csv: {len(one.rows)} clips; identities: {identities}"
            + (f"; left out: {left_out}" if left_out else "")
        )
    listed = [(name, *pair) for name, one in lists.items() for pair in one.listed]
    if listed:
        write_csv(folder / "left_out.csv", [("list", "source", "reason"), *listed])
    made_from = {path.name: sha256_of(path) for path in inputs}
    about = {"protocol": protocol, "seed": seed, "made_from": made_from, "lists": facts, **more}
    write_atomic(folder / SPLIT_JSON, (json.dumps(about, indent=2) + "\n").encode())
    return lines


def _counts(one: SplitList, tier_of: Mapping[str, str]) -> dict[str, Any]:
    clips = {split: Counter(tier_of[row.source] for row in one.rows if row.split == split) for split in SPLITS}
    identities = {split: len({row.identity for row in one.rows if row.split == split}) for split in SPLITS}
    return {"identities": identities, "clips": clips, "left_out": one.left_out}
