"""Clips under a folder, and what their place, name and tables say about them."""

from collections.abc import Iterable
from pathlib import Path

from avdfd.core.clips import SUFFIXES, UNKNOWN, Clip
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.corpora.layouts import list_entries

__all__ = ["SUFFIXES", "UNKNOWN", "Clip", "scan"]


def scan(root: str | Path, tiers: Iterable[str], *, sound: bool = False) -> list[Clip]:
    """The clips of some tiers under a root, in order of their path; also those without pictures, if `sound` will do.

    The root has one of the layouts of `avdfd.corpora.layouts`. Clips that it lists without having them, or has
    without listing them, are left out. Raises UserError for a missing or empty root, or one of no known layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `input` is the root of the videos")
    wanted = [TIERS[name].name for name in tiers]
    clips = [entry.clip for entry in list_entries(root, sound=sound) if not entry.problem and entry.clip.tier in wanted]
    if not clips:
        raise UserError(f"{root}: no {'media' if sound else 'video'} files of the tiers {', '.join(wanted)}")
    return clips
