"""OpenAVFF's files: lists of videos, `video_name,target`, and predictions, `video_name,y_pred`.

A list is a CSV with or without a header; target 1 is fake. Its paths are relative to a root, or absolute below it.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avdfd.core.clips import UNKNOWN, ClipMeta, Entry, Files, make_entry, missing, named_identities
from avdfd.core.errors import UserError
from avdfd.core.text import read_cells, read_text
from avdfd.core.tiers import FAKE, RVRA
from avdfd.core.tree import tidy
from avdfd.splits.files import SplitList, SplitRow
from avdfd.splits.lists import SPLITS

_NAME, _TARGET = "video_name", "target"
_TARGETS = {"0": 0, "1": 1}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST = 255  # bytes in the name of a file
_ABSENT = "listed, but not among the clips"
PREDICTION = (_NAME, "y_pred")
"""Columns of a prediction."""


class ListedVideo(NamedTuple):
    """Row of a list."""

    name: str
    """Path as it is written."""
    source: str
    """Path relative to the root; absolute if there is no root."""
    target: int | None
    """1 = fake; None if the list has no targets."""
    place: str
    """File and line, for messages."""


class VideoList(NamedTuple):
    """Videos of one or more lists, each once, in the order of the rows."""

    root: Path
    """Folder that the sources are relative to."""
    videos: list[ListedVideo]
    again: list[str]
    """Sources of further rows, each equal to an earlier one."""

    @property
    def repeated(self) -> int:
        return len(self.again)

    @property
    def files(self) -> list[Path]:
        return [self.root / video.source for video in self.videos]


def read_videos(
    paths: Sequence[Path], root: Path | None = None, *, targets: bool = True, files: Files | None = None
) -> VideoList:
    """Read lists of videos below a root.

    If the `files` below it are known, names with backslashes, or with letters composed otherwise, are found, too.
    Without a root, relative paths are relative to the folder of the first list, and absolute paths may be anywhere.
    Lists without a column of targets are accepted if `targets` is False. Raises UserError, naming the line, for other
    columns, a target that is not 0 or 1, a path that leaves the root, and one video with two targets.
    """
    base = paths[0].parent if root is None else root
    if root is not None and not root.is_dir():
        raise UserError(f"{root}: no such folder; name the root of the videos in {paths[0]}")
    tops = [] if root is None else [f"{str(top).rstrip('/')}/" for top in (os.path.abspath(root), root.resolve())]
    found: dict[str, ListedVideo] = {}
    again = []
    for path in paths:
        for number, name, target in _rows(path, targets):
            place = f"{path}: line {number}"
            source = _source(name, tops, place)
            if files is not None and source not in files.all and (alike := files.find(source)) in files.present:
                source = alike
            video = ListedVideo(name, source, target, place)
            former = found.setdefault(video.source, video)
            if former.target != target:
                raise UserError(f"{place}: '{name}' has target {target}, and {former.target} in {former.place}")
            again += [video.source] if former is not video else []
    if not found:
        raise UserError(f"{paths[0]}: lists no videos; a row is {_NAME},{_TARGET}")
    return VideoList(base, [*found.values()], again)


def read_sources(paths: Sequence[Path], root: str | None) -> VideoList:
    """Read lists of videos whose sources are to be found among others: relative to the root of those.

    Raises UserError as `read_videos` does, and for an absolute path without a root.
    """
    listed = read_videos(paths, Path(root) if root else None)
    absolute = next((video for video in listed.videos if os.path.isabs(video.source)), None)
    if absolute:
        raise UserError(f"{absolute.place}: an absolute path: name the root of the videos with --videos")
    return listed


def as_splits(lists: Sequence[VideoList], clips: Iterable[ClipMeta]) -> SplitList:
    """Return the listed clips as splits: of the first list for training, of the second for validation, then test.

    A video that is not among the clips is left out, with its reason. Raises UserError for a video or an identity in two
    lists, for a target that is not the label of the clip, and for a list with none of the clips.
    """
    known = {clip.source: clip for clip in clips}
    by_tidy_name = {tidy(source): clip for source, clip in known.items()}
    chosen = SplitList([])
    where: dict[str, str] = {}
    for split, listed in zip(SPLITS, lists, strict=False):
        before = len(chosen.rows)
        for video in listed.videos:
            clip = known.get(video.source) or by_tidy_name.get(tidy(video.source))
            members = [] if clip is None else [f"identity {name}" for name in clip.identities]
            for member in (f"video {video.source}", *members):
                if where.setdefault(member, split) != split:
                    raise UserError(f"{video.place}: {member} is also in the list for {where[member]}; keep it in one")
            if clip is None:
                chosen.left_out[_ABSENT] += 1
                chosen.listed.append((video.source, _ABSENT))
            elif video.target != clip.label:
                raise UserError(f"{video.place}: '{video.name}' has target {video.target}, but label {clip.label} here")
            else:
                chosen.rows.append(SplitRow(split, clip.identities[0], clip.source))
        if len(chosen.rows) == before:
            raise UserError(f"{listed.videos[0].place}: none of the {split} videos is among the clips to be split")
    return chosen


def entries(listed: VideoList) -> list[Entry]:
    """Return the clip of every listed video, by source; one without a file has a problem.

    A fake has the tier FAKE, as a list does not say what is fake in it. Nor does it say who is in a video: the identity
    is that in the path, written as in VoxCeleb2 (id00012), or else the video itself.
    """
    made = []
    for video in listed.videos:
        entry = make_entry(
            listed.root,
            video.source,
            FAKE if video.target else RVRA,
            identities=named_identities(video.source, otherwise=os.path.splitext(video.source)[0]),
            method=UNKNOWN if video.target else "real",
        )
        made.append(entry if entry.clip.path.is_file() else missing(entry, video.place.rpartition(":")[0]))
    return sorted(made, key=lambda entry: entry.clip.source)


def prediction(listed: VideoList, scores: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Return the rows of a prediction, the header first: name and P(fake), by source, of every listed video.

    The name is the file's own, or the path as it is listed where several files have the same name. A video without a
    score has an empty one.
    """
    names = Counter(os.path.basename(video.source) for video in listed.videos)
    rows: list[tuple[str, ...]] = [PREDICTION]
    for video in listed.videos:
        name, score = os.path.basename(video.source), scores.get(video.source)
        rows.append((name if names[name] == 1 else video.name, "" if score is None else repr(float(score))))
    return rows


def _rows(path: Path, targets: bool) -> Iterable[tuple[int, str, int | None]]:
    """Yield line number, name and target of each row."""
    if not path.is_file():
        raise UserError(f"{path}: no such list of videos")
    header: list[str] | None = None
    for line, cells in read_cells(read_text(path, "CSV"), path):
        place = f"{path}: line {line}"
        if header is None:
            header = _header(cells, targets, place)
        if cells == header:  # also further down, in lists that were joined
            continue
        if len(cells) != len(header):
            raise UserError(f"{place}: has {len(cells)} cells, not {len(header)}; quote a path with commas")
        values = dict(zip(header, cells, strict=True))
        target = _TARGETS.get(values[_TARGET]) if targets else None
        if targets and target is None:
            raise UserError(f"{place}: target '{values[_TARGET]}'; 1 is fake, 0 is real")
        yield line, values[_NAME], target


def _header(cells: list[str], targets: bool, place: str) -> list[str]:
    """Return the columns that the first row states or, if it is a video already, has."""
    if _NAME in cells:
        if targets and _TARGET not in cells:
            raise UserError(f"{place}: has no column '{_TARGET}'; its columns are {', '.join(cells)}")
        return cells
    plain = [_NAME, _TARGET][: len(cells)]
    if len(cells) == len(plain) and (cells[-1] in _TARGETS or (not targets and len(cells) == 1)):
        return plain
    raise UserError(f"{place}: is neither the header {_NAME},{_TARGET} nor the path of a video and 0 or 1")


def _source(name: str, tops: Sequence[str], place: str) -> str:
    """Return a path relative to a root, whose names end with a slash; an absolute path without a root."""
    if not name or _CONTROL.search(name):
        raise UserError(f"{place}: {name!r} is not the path of a video")
    source = os.path.normpath(name)
    if len(source) > _LONGEST and max(len(part.encode()) for part in source.split("/")) > _LONGEST:
        raise UserError(f"{place}: a name of more than {_LONGEST} bytes is not that of a file")
    if source.startswith("/"):
        source = "/" + source.lstrip("/")
        if not tops:
            return source
        source = next((source.removeprefix(top) for top in tops if source.startswith(top)), "..")
    if source in ("", ".", "..") or source.startswith("../"):
        where = tops[0] if tops else "the folder of the list"
        raise UserError(f"{place}: '{name}' is not below {where}; name a root that contains it, such as /")
    return source
