"""Clips of a root, with what their folders, names and tables say about them."""

from collections.abc import Iterable
from pathlib import Path

from avdfd.core.clips import SUFFIXES, UNKNOWN, Clip
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.corpora.layouts import read_root
from avdfd.corpora.left_out import LeftOut, left_out

__all__ = ["SUFFIXES", "UNKNOWN", "Clip", "scan", "scan_all"]


def scan(root: str | Path, tiers: Iterable[str], *, audio: bool = False) -> list[Clip]:
    """Return the clips of `scan_all`."""
    return scan_all(root, tiers, audio=audio)[0]


def scan_all(root: str | Path, tiers: Iterable[str], *, audio: bool = False) -> tuple[list[Clip], list[LeftOut]]:
    """Return the clips of some tiers under a root, in order of their path; with `audio` also those without video.

    The second list has everything else: clips that are listed but missing, or present but not listed, those of other
    tiers, and files that are no clips. The root has one of the layouts of `avdfd.corpora.layouts`. Raises UserError for
    a missing or empty root, or an unknown layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `input` is the root of the videos")
    wanted = [TIERS[name].name for name in tiers]
    entries, others = read_root(root, audio=audio)
    clips = [entry.clip for entry in entries if not entry.problem and entry.clip.tier in wanted]
    if not clips:
        raise UserError(f"{root}: no {'media' if audio else 'video'} files of the tiers {', '.join(wanted)}")
    return clips, left_out(entries, others, wanted)
