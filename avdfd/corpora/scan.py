"""Clips of a root, with what their folders, names and tables say about them."""

from collections.abc import Iterable
from pathlib import Path

from avdfd.core.clips import SUFFIXES, UNKNOWN, Clip
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.corpora.layouts import list_entries

__all__ = ["SUFFIXES", "UNKNOWN", "Clip", "scan"]


def scan(root: str | Path, tiers: Iterable[str], *, audio: bool = False) -> list[Clip]:
    """Return the clips of some tiers under a root, in order of their path; with `audio` also those without video.

    The root has one of the layouts of `avdfd.corpora.layouts`. Clips that are listed but missing, or present but not
    listed, are left out. Raises UserError for a missing or empty root, or an unknown layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `input` is the root of the videos")
    wanted = [TIERS[name].name for name in tiers]
    clips = [entry.clip for entry in list_entries(root, audio=audio) if not entry.problem and entry.clip.tier in wanted]
    if not clips:
        raise UserError(f"{root}: no {'media' if audio else 'video'} files of the tiers {', '.join(wanted)}")
    return clips
