"""Clips of a root, with what their folders, names and tables say about them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from avdfd.core.clips import SUFFIXES, UNKNOWN, Clip
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.corpora.layouts import REPEATED, read_root
from avdfd.corpora.left_out import LeftOut, left_out, search, unlisted
from avdfd.corpora.manifest import choose
from avdfd.corpora.video_list import entries, read_videos

__all__ = ["SUFFIXES", "UNKNOWN", "Clip", "scan", "scan_all", "scan_lists", "scan_manifest"]


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


def scan_manifest(
    manifest: Path, root: Path, tiers: Sequence[str], output: Path | None = None
) -> tuple[list[Clip], list[LeftOut]]:
    """Return the clips of some tiers that a manifest lists, and everything else in it and under the root but an output.

    A manifest is a choice of files, so one without a row is no mismatch. Raises UserError if the root has none of them.
    """
    clips, others = choose(manifest, root, tiers)
    if not any(clip.path.is_file() for clip in clips):
        raise UserError(f"{root}: has none of the files that {manifest} lists; `input` is their root")
    named = {clip.source for clip in clips} | {line.source for line in others}
    return clips, others + left_out((), unlisted(search(root, output), named, [manifest]))


def scan_lists(
    lists: Sequence[Path], root: Path, tiers: Sequence[str], output: Path | None = None
) -> tuple[list[Clip], list[LeftOut], str]:
    """Return the clips of some tiers in lists of videos, everything else in them and under the root, and the counts.

    Clips without a file are among the clips, to be quarantined. A list is a choice of files, so one without a row is no
    mismatch. Raises UserError if the root has none of the videos.
    """
    files = search(root, output)
    listed = read_videos(lists, root, files=files)
    found = entries(listed)
    clips = [entry.clip for entry in found if entry.clip.tier in tiers]
    if all(entry.problem for entry in found if entry.clip.tier in tiers):
        raise UserError(f"{root}: has no video of {lists[0]} of the tiers {', '.join(tiers)}")
    usable = [replace(entry, problem="") for entry in found]
    others = unlisted(files, {entry.clip.source for entry in found}, lists)
    counts = (
        f"{', '.join(map(str, lists))}: {len(found)} videos, {sum(bool(entry.problem) for entry in found)} of them "
        f"missing, {listed.repeated} rows repeat one, {len(found) - len(clips)} left out by `tiers`"
    )
    return clips, left_out(usable, others + [(source, REPEATED) for source in listed.again], tiers), counts
