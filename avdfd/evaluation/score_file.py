"""Scores of any system from a table, CSV or Parquet, one row per file, and the clips that the rows name.

A row names a clip if its path and the clip's source are equal, or one is the tail of the other: `id5/00000.mp4` and
`/data/x/RealVideo-RealAudio/Asian/men/id5/00000.mp4` may be the same file. Suffixes may differ, as audio is often taken
out of a video. A row that may be several clips is refused.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from avdfd.core.errors import UserError
from avdfd.core.tree import tidy
from avdfd.corpora.rows import columns_in, read_rows
from avdfd.metrics.roc import Floats

FILE_COLUMNS = (
    *("file", "clip", "path", "source", "video_name", "filename", "file_name", "filepath", "video", "name"),
    *("utterance", "utt_id", "key"),
)
SCORE_COLUMNS = ("score", "p_fake", "y_pred", "fused", "probability", "prediction", "cm-score", "cm_score")
"""Names by which the columns are found if the user states none."""
PROBABILITY, LOG_ODDS, RANK = SCALES = ("probability", "log-odds", "rank")
"""Kinds of numbers: P(fake); its log-odds; numbers of which the order alone has a meaning."""


class ScoreFile(NamedTuple):
    """A file of scores, and how to read it."""

    path: Path
    file_column: str | None = None
    """Column of the files; None to find it by its name."""
    score_column: str | None = None
    higher_is_real: bool = False
    """True if a higher score means real."""
    scale: str = PROBABILITY


class Scored(NamedTuple):
    """The content of a file of scores."""

    scores: dict[str, float]
    """Source of a clip -> P(fake)."""
    empty: dict[str, str]
    """Source of a clip, or name of an unknown file, without a number in its row -> where that is."""
    unknown: list[str]
    """Names that are those of no clip."""
    columns: tuple[str, str]
    """Columns of the files and of the scores."""

    @property
    def rows(self) -> int:
        return len(self.scores) + len(self.empty) + len(self.unknown)


def read_scores(file: ScoreFile, sources: Iterable[str]) -> Scored:
    """Read the scores of clips with these sources.

    Raises UserError, which names the row, for one that may be several clips, a second row of a clip, and a score that
    is no finite number or not on the stated scale; also for columns that are not found.
    """
    columns = _columns(file)
    clips = _ByTail(sources)
    numbers: dict[str, float] = {}
    empty, unknown, places = dict[str, str](), list[str](), dict[str, str]()
    for place, row in read_rows(file.path, columns):
        name, cell = row[columns[0]], row[columns[1]]
        if not isinstance(name, str) or not name:
            raise UserError(f"{place}: column '{columns[0]}' has {name!r}, which is not the name of a file")
        found = clips.find(name, place)
        clip = found or name
        if clip in places:
            raise UserError(f"{place}: a second score of '{clip}', after {places[clip]}; keep one")
        places[clip] = place
        if cell is None or cell == "":
            empty[clip] = place
        elif found is None:
            unknown.append(name)
        else:
            numbers[clip] = _number(cell, columns[1], place)
    if not places:
        raise UserError(f"{file.path}: has no rows")
    if not numbers:
        ours = next(iter(clips.sources), "")
        raise UserError(
            f"{file.path}: none of its {len(places)} rows is the score of a clip, e.g. '{next(iter(places))}', but "
            f"'{ours}'; paths are relative to the root of the data set"
        )
    values = _as_probabilities(np.array([*numbers.values()]), file, [places[clip] for clip in numbers])
    return Scored(dict(zip(numbers, values.tolist(), strict=True)), empty, unknown, columns)


class _ByTail:
    """Clips, found by the tail of their path."""

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = dict.fromkeys(sources)
        self._by_stem: Mapping[str, list[str]] = defaultdict(list)
        for source in self.sources:
            self._by_stem[PurePosixPath(source).stem].append(source)

    def find(self, name: str, place: str) -> str | None:
        """Return the clip that a name means, None if there is none. Raises UserError if there are several."""
        name = tidy(name)
        if name in self.sources:
            return name
        path = PurePosixPath(name)
        # A name without a suffix may have a dot, so that its last part is no suffix.
        candidates = [*self._by_stem.get(path.stem, ()), *(self._by_stem.get(path.name, ()) if path.suffix else ())]
        alike = [source for source in candidates if _is_tail(path, PurePosixPath(source))]
        exact = [source for source in alike if PurePosixPath(source).name == path.name]
        found = exact or alike
        if len(found) > 1:
            raise UserError(
                f"{place}: '{name}' may be {len(found)} clips, e.g. '{found[0]}' and '{found[1]}'; write paths "
                "relative to the root of the data set"
            )
        return found[0] if found else None


def _is_tail(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Return True if the folders of one path are the last ones of the other."""
    pairs = zip(reversed(one.parts[:-1]), reversed(other.parts[:-1]), strict=False)
    return all(ours == theirs for ours, theirs in pairs)


def _columns(file: ScoreFile) -> tuple[str, str]:
    """Return the columns of files and scores. Raises UserError if they are not found by name."""
    there = columns_in(file.path)
    found = []
    for stated, known, option in (
        (file.file_column, FILE_COLUMNS, "--file-column"),
        (file.score_column, SCORE_COLUMNS, "--score-column"),
    ):
        alike = [stated] if stated else [name for name in there if name.lower() in known]
        if len(alike) != 1:
            named = f"several columns that may be meant, {', '.join(alike)}" if alike else "no column of a known name"
            raise UserError(f"{file.path}: has {named}; name one of {', '.join(there)} with {option}")
        found.append(alike[0])
    return found[0], found[1]


def _number(cell: Any, column: str, place: str) -> float:
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{place}: column '{column}' has {str(cell)[:40]!r}, which is not a finite number")
    return value


def _as_probabilities(values: Floats, file: ScoreFile, places: list[str]) -> Floats:
    """Return P(fake) of scores. Raises UserError for one outside of the scale, and for different ones made equal."""
    outside = (values < 0) | (values > 1)
    if file.scale == PROBABILITY and outside.any():
        first = int(outside.argmax())
        raise UserError(
            f"{places[first]}: score {values[first]:g} is not a probability; state what the scores are, with --scale "
            f"{LOG_ODDS} or, if their order alone has a meaning, --scale {RANK}"
        )
    if file.scale == PROBABILITY:
        found = 1 - values if file.higher_is_real else values
    else:
        signed = -values if file.higher_is_real else values
        found = expit(signed) if file.scale == LOG_ODDS else 0.5 * (1 + signed / (1 + np.abs(signed)))
    if len(np.unique(found)) < len(np.unique(values)):
        hint = f"use --scale {RANK}" if file.scale == LOG_ODDS else "divide them by their largest absolute value"
        raise UserError(f"{file.path}: different scores become equal as P(fake), which would change ranks; {hint}")
    return found
