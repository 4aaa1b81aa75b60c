"""What is known of a clip before it is opened: where it lies, what it is, and who is in it."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from avdfd.core.tiers import Tier

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp"}
SOUND_SUFFIXES = {".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac", ".wma"}
UNKNOWN = "unknown"
IDENTITY = re.compile(r"(?<![0-9A-Za-z])id\d+(?![0-9A-Za-z])")
"""A person as VoxCeleb2 and the data sets made from it name them; not the same letters inside a YouTube name."""


@dataclass(frozen=True)
class Clip:
    """A video or sound file. `source` is its path relative to the root; `base` that of the clip it was made from."""

    path: Path
    source: str
    tier: str
    identities: tuple[str, ...]
    base: str
    method: str
    race: str
    gender: str
    fake_periods: tuple[tuple[float, float], ...] | None = None
    """Start and end in seconds of what is fake; None where all of the clip is what its tier says."""
    page: str = UNKNOWN
    """Where it was published, for collections from many pages: clips of one page were made and stored alike."""


@dataclass(frozen=True)
class Entry:
    """A clip as a data set lists it, with what only some data sets say.

    `split` is the part of the data set, as released. `problem` says why the clip cannot be used: it is listed without
    being there, or there without being listed, and then its tier is "unknown".
    """

    clip: Clip
    split: str = UNKNOWN
    problem: str = ""


def make_entry(
    root: Path,
    source: str,
    tier: Tier | None,
    *,
    identities: tuple[str, ...] = (),
    base: str = "",
    method: str = UNKNOWN,
    race: str = UNKNOWN,
    gender: str = UNKNOWN,
    split: str = UNKNOWN,
    fake_periods: tuple[tuple[float, float], ...] | None = None,
    page: str = UNKNOWN,
    problem: str = "",
) -> Entry:
    """The entry of a file. Without a tier it is "unknown", without a base the clip is its own."""
    name = tier.name if tier else UNKNOWN
    clip = Clip(root / source, source, name, identities, base or source, method, race, gender, fake_periods, page)
    return Entry(clip, split, problem)


def media_files(root: Path, folder: str = "") -> Iterator[str]:
    """Video and sound files under a folder of the root, hidden ones aside, as paths relative to the root."""
    for place, _, names in os.walk(root / folder):
        relative = Path(place).relative_to(root).as_posix()
        before = "" if relative == "." else f"{relative}/"
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES | SOUND_SUFFIXES and not name.startswith("."):
                yield before + name


def is_sound(source: str) -> bool:
    """Whether a file has a name of one without pictures."""
    return os.path.splitext(source)[1].lower() in SOUND_SUFFIXES


def video_label(tier: Tier, source: str) -> int | None:
    """The label of the picture of a clip, 1 = fake: that of its tier, or None for a sound file, which has none."""
    return None if is_sound(source) else tier.video


def reconcile(root: Path, present: set[str], listed: Mapping[str, Entry], table: str) -> Iterator[Entry]:
    """The entries of a table, by source, and those of files that it does not list; what does not agree says so."""
    for source, entry in listed.items():
        yield entry if source in present else missing(entry, table)
    for source in present - listed.keys():
        yield make_entry(root, source, None, problem=f"not listed in {table}")


def missing(entry: Entry, table: str) -> Entry:
    """An entry whose file is not there."""
    return Entry(entry.clip, entry.split, f"listed in {table}, but there is no such file")
