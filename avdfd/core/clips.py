"""The facts about a clip, declared once: where its file is, how it was made, and who is in it."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from avdfd.core.periods import Periods, WindowLabel, from_text, merged, overlap
from avdfd.core.signatures import read_signature
from avdfd.core.tiers import Tier, tier
from avdfd.core.tree import tidy, walk

VIDEO, NO_VIDEO = "yes", "no"
"""Values of `ClipMeta.has_video`."""
SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp"}
AUDIO_SUFFIXES = {".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".aac", ".wma"}
_KNOWN = SUFFIXES | AUDIO_SUFFIXES
UNKNOWN = "unknown"
IDENTITY = re.compile(r"(?<![0-9A-Za-z])id\d+(?![0-9A-Za-z])")
"""An identity as VoxCeleb2 and its derived data sets write it (id00012); not these letters inside a YouTube name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMeta:
    """The facts about a clip that manifests, element stores and evaluations share.

    Their columns are derived from these fields, so a new fact is one field here and the adapter that fills it in. It
    needs a default, which files written before it get, and is a string: of all fields, only `identities` is not.
    """

    source: str
    """Path of the file, relative to the root of its data set. It names the clip."""
    tier: str
    """Name of a tier (avdfd.core.tiers), or "unknown"."""
    identities: tuple[str, ...]
    """Everybody whose face or voice is in the clip: its main identity first, then swapped faces and cloned voices."""
    base: str
    """Source of the clip that this one was made from; its own source for an original."""
    method: str = UNKNOWN
    """Name of the manipulation method."""
    race: str = UNKNOWN
    gender: str = UNKNOWN
    sha256: str = ""
    """sha256 of the file; empty if the file has not been read."""
    page: str = UNKNOWN
    """Web page that published the clip. Clips of one page were made and encoded alike."""
    audio_fake_periods: str = ""
    """Periods in which the audio is fake, as text (`avdfd.core.periods`); empty: the tier describes the whole clip."""
    visual_fake_periods: str = ""
    """Periods in which the video is fake, likewise."""
    has_video: str = UNKNOWN
    """VIDEO if the file has a video stream, or NO_VIDEO, by its content; "unknown" if it has not been read."""

    @property
    def label(self) -> int:
        """Label of the clip, 1 = fake. Raises UserError for an unknown tier."""
        return tier(self.tier).label

    @property
    def label_video(self) -> int | None:
        """Label of the video stream; None if it is not known or the file is audio only.

        In stores made before `has_video` was a fact, audio files are those whose suffix says so.
        """
        audio = is_audio(self.source) if self.has_video == UNKNOWN else self.has_video == NO_VIDEO
        return None if audio else tier(self.tier).video

    @property
    def label_audio(self) -> int | None:
        """Label of the audio stream; None if it is not known."""
        return tier(self.tier).audio

    @property
    def fake_periods_by_modality(self) -> tuple[Periods, Periods]:
        """Fake periods of the audio and of the video; none for a modality that is real, or fake in the whole clip.

        Raises UserError if they are damaged.
        """
        texts = (self.audio_fake_periods, self.visual_fake_periods)
        audio, video = (
            from_text(text) if fake else () for text, fake in zip(texts, tier(self.tier).fake_modalities, strict=True)
        )
        return audio, video

    @property
    def fake_periods_of_either(self) -> Periods | None:
        """Periods in which the audio or the video is fake, none of a real clip; None if either is in the whole clip."""
        audio, video = self.fake_periods_by_modality
        fake_audio, fake_video = tier(self.tier).fake_modalities
        return None if (fake_audio and not audio) or (fake_video and not video) else merged([*audio, *video])

    def window_label(self, start: float, end: float) -> WindowLabel:
        """Return the label of the window from `start` to `end`, in seconds of the clip.

        An unknown modality of a fake clip counts as fake. Raises UserError for an unknown tier or damaged periods.
        """
        seconds = [
            (overlap(periods, start, end) if periods else end - start) if fake else 0.0
            for periods, fake in zip(self.fake_periods_by_modality, tier(self.tier).fake_modalities, strict=True)
        ]
        return WindowLabel(*seconds)


def named_identities(text: str, otherwise: str) -> tuple[str, ...]:
    """Return the identities that a path or name states, written as in VoxCeleb2 (id00012), or else another one."""
    return tuple(dict.fromkeys(IDENTITY.findall(text))) or (otherwise,)


CLIP_FIELDS = tuple(field.name for field in fields(ClipMeta))
PERIOD_FIELDS = ("audio_fake_periods", "visual_fake_periods")
CLIP_DEFAULTS: dict[str, str] = {
    field.name: field.default for field in fields(ClipMeta) if field.default is not MISSING
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(ClipMeta):
    """A video or audio file of a data set."""

    path: Path
    fake_periods: Periods | None = None
    """Start and end in seconds of the fake segments, of either modality; None if the tier describes the whole clip."""


@dataclass(frozen=True)
class Entry:
    """A clip as its data set lists it."""

    clip: Clip
    split: str = UNKNOWN
    """Split of the data set's own release."""
    problem: str = ""
    """Reason why the clip cannot be used: it is listed but missing, or not listed and of tier "unknown"."""
    repeated: int = 0
    """Number of further rows of the clip: the first counts."""


def make_entry(
    root: Path,
    source: str,
    tier: Tier | None,
    *,
    identities: tuple[str, ...] = (),
    base: str = "",
    split: str = UNKNOWN,
    problem: str = "",
    **facts: Any,
) -> Entry:
    """Return the entry of a file. `facts` are further fields of `Clip` by name.

    Without a tier, the clip's is "unknown"; without a base, the clip is an original.
    """
    clip = Clip(
        path=root / source,
        source=source,
        tier=tier.name if tier else UNKNOWN,
        identities=identities,
        base=base or source,
        **facts,
    )
    return Entry(clip, split, problem)


def media_files(root: Path, folder: str = "", skip: Callable[[str], bool] | None = None) -> Iterator[str]:
    """Yield the paths, relative to the root, of all files in a folder of it that may be video or audio (`is_media`).

    Folders for whose path `skip` is true are not entered.
    """
    return (source for source, reason in walk(root, folder, skip) if not reason and is_media(source, root))


def is_media(source: str, root: Path) -> bool:
    """Return True for a file below a root that is to be tried as video or audio, and is not hidden.

    Files with a suffix of media are, without being opened, as reading them shows what they are; others if their first
    bytes are those of a media format.
    """
    name = source.rpartition("/")[2]
    if name.startswith("."):
        return False
    return os.path.splitext(name)[1].lower() in _KNOWN or bool(read_signature(os.path.join(root, source)))


def is_audio(source: str) -> bool:
    """Return True if the suffix of a file says that it is audio, which its content may not be."""
    return os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES


class Files:
    """All files below a root, which is searched once; media files are found by the names that a table has for them."""

    def __init__(self, root: Path, skip: Callable[[str], bool] | None = None) -> None:
        self.root = root
        self.all = dict(walk(root, skip=skip))
        """Path relative to the root -> why it is no file; empty for files."""
        self.present = {source for source, reason in self.all.items() if not reason and is_media(source, root)}
        """Files that may be media (`is_media`)."""

    def below(self, folder: str) -> Iterator[str]:
        """Yield the media files in a folder of the root."""
        return (source for source in self.all if source in self.present and source.startswith(f"{folder}/"))

    def find(self, name: str) -> str:
        """Return the source of the file with a name: exactly this one, or else one that is equal when tidy.

        Returns the tidy name if there is none.
        """
        return name if name in self.present else self._by_tidy_name.get(tidy(name), tidy(name))

    @cached_property
    def _by_tidy_name(self) -> dict[str, str]:
        return {tidy(source): source for source in sorted(self.present, reverse=True)}


def reconcile(files: Files, listed: Iterable[Entry], table: str) -> Iterator[Entry]:
    """Yield the entries of a table, then those of the files it does not list; mismatches have a problem."""
    named = set()
    for entry in listed:
        named.add(entry.clip.source)
        yield entry if entry.clip.source in files.present else missing(entry, table)
    for source in files.present - named:
        yield make_entry(files.root, source, None, problem=f"not listed in {table}")


def missing(entry: Entry, table: str) -> Entry:
    """Return the entry with the problem that its file does not exist."""
    return replace(entry, problem=f"listed in {table}, but there is no such file")
