"""Scores of any system from a table, CSV or Parquet, and the clips that the rows name.

A row names a clip if its path and the clip's source are equal, or one is the tail of the other: `id5/00000.mp4` and
`/data/x/RealVideo-RealAudio/Asian/men/id5/00000.mp4` may be the same file. Suffixes may differ, as audio is often taken
out of a video. A row that may be several clips is refused.

A clip has one row, or one for each of its windows (columns `start`, in seconds, or `window`, a number) and each seed
(column `seed`). Columns `NAME[0]`, `NAME[1]`, ..., as scores.csv has them, are seeds, too.

    S seeds   W windows of a clip
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import scipy

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
START, WINDOW, SEED = "start", "window", "seed"
"""Names of the columns that say which window, or seed, a row is of."""
PROBABILITY, LOG_ODDS, RANK = SCALES = ("probability", "log-odds", "rank")
"""Kinds of numbers: P(fake); its log-odds; numbers of which the order alone has a meaning."""
_OF_SEED = re.compile(r"(.+)\[(\d{1,4})\]")


class ScoreFile(NamedTuple):
    """A file of scores, and how to read it."""

    path: Path
    file_column: str | None = None
    """Column of the files; None to find it by its name."""
    score_column: str | None = None
    higher_is_real: bool = False
    """True if a higher score means real."""
    scale: str = PROBABILITY


class ClipScores(NamedTuple):
    """The scores of a clip."""

    values: Floats
    """(S, W), P(fake)."""
    places: Floats
    """(W,) start in seconds, or number, of each window, in this order; one 0 for a file of clips."""


class Scored(NamedTuple):
    """The content of a file of scores."""

    scores: dict[str, ClipScores]
    """Source of a clip -> its scores."""
    empty: dict[str, str]
    """Source of a clip, or name of an unknown file, without a number in a row of it -> where that is."""
    unknown: list[str]
    """Names that are those of no clip, each once."""
    columns: tuple[str, str]
    """Columns of the files and of the scores; of several seeds without the number."""
    rows: int
    """Number of rows."""
    seeds: tuple[int, ...] = (0,)
    window_column: str | None = None
    """START or WINDOW if rows are windows, None if they are clips."""

    @property
    def named(self) -> int:
        """Number of files that the rows name."""
        return len(self.scores) + len(self.empty) + len(self.unknown)


class _Columns(NamedTuple):
    file: str
    score: str
    """Name of the scores, without the number of a seed."""
    scores: tuple[str, ...]
    """Columns of the scores, one or one per seed."""
    window: str | None
    seed: str | None


def read_scores(file: ScoreFile, sources: Iterable[str]) -> Scored:
    """Read the scores of clips with these sources.

    Raises UserError, which names the row, for one that may be several clips, a second score of the same clip, window
    and seed, a clip that lacks a window or seed that others of its rows have, and a score that is no finite number or
    not on the stated scale; also for columns that are not found.
    """
    columns = _columns(file)
    clips = _ByTail(sources)
    cells: dict[str, dict[tuple[int, float], _Cell]] = {}
    empty, unknown, rows = dict[str, str](), dict[str, None](), 0
    wanted = [columns.file, *columns.scores, *(name for name in (columns.window, columns.seed) if name)]
    for place, row in read_rows(file.path, wanted):
        rows += 1
        name = row[columns.file]
        if not isinstance(name, str) or not name:
            raise UserError(f"{place}: column '{columns.file}' has {name!r}, which is not the name of a file")
        found = clips.find(name, place)
        clip = found or name
        window = _number(row[columns.window], columns.window, place) if columns.window else 0.0
        of_clip = cells.setdefault(clip, {})
        for number, column in enumerate(columns.scores):
            key = (_seed(row[columns.seed], place) if columns.seed else number, window)
            if key in of_clip:
                named = _named(clip, key, columns)
                raise UserError(f"{place}: a second score of {named}, after {of_clip[key].place}; {_KEEP}")
            cell = row[column]
            if cell is None or cell == "":
                empty.setdefault(clip, place)
                of_clip[key] = _Cell(math.nan, place)
            else:
                of_clip[key] = _Cell(_number(cell, column, place), place)
        if found is None:
            unknown[name] = None
    if not rows:
        raise UserError(f"{file.path}: has no rows")
    known = {clip: of for clip, of in cells.items() if clip not in empty and clip not in unknown}
    if not known:
        ours = next(iter(clips.sources), "")
        raise UserError(
            f"{file.path}: none of its {rows} rows is the score of a clip, e.g. '{next(iter(cells))}', but "
            f"'{ours}'; paths are relative to the root of the data set"
        )
    seeds = sorted({seed for of in known.values() for seed, _ in of})
    tables = {clip: _table(clip, of, seeds, columns) for clip, of in known.items()}
    flat = [cell for table in tables.values() for line in table.cells for cell in line]
    values = _as_probabilities(np.array([cell.value for cell in flat]), file, [cell.place for cell in flat])
    scores, first = {}, 0
    for clip, table in tables.items():
        size = len(seeds) * len(table.windows)
        scores[clip] = ClipScores(values[first : first + size].reshape(len(seeds), -1), np.array(table.windows))
        first += size
    names = [name for name in unknown if name not in empty]
    return Scored(scores, empty, names, (columns.file, columns.score), rows, tuple(seeds), columns.window)


_KEEP = f"keep one, or say which is which in a column {START}, {WINDOW} or {SEED}"


class _Cell(NamedTuple):
    value: float
    place: str


class _Table(NamedTuple):
    cells: list[list[_Cell]]
    """Seed by seed, those of its windows."""
    windows: list[float]


def _table(clip: str, of: Mapping[tuple[int, float], _Cell], seeds: list[int], columns: _Columns) -> _Table:
    """Return the scores of a clip by seed and window. Raises UserError if one is missing."""
    windows = sorted({window for _, window in of})
    for key in ((seed, window) for seed in seeds for window in windows):
        if key not in of:
            place = next(iter(of.values())).place
            raise UserError(f"{place}: there is no score of {_named(clip, key, columns)}; write one of every seed")
    return _Table([[of[seed, window] for window in windows] for seed in seeds], windows)


def _named(clip: str, key: tuple[int, float], columns: _Columns) -> str:
    """Return a clip in words, with the window and the seed if the table has them."""
    seed, window = key
    named = f"'{clip}'" + (f", {columns.window} {window:g}" if columns.window else "")
    return named + (f", seed {seed}" if columns.seed or len(columns.scores) > 1 else "")


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


def _columns(file: ScoreFile) -> _Columns:
    """Return the columns to read. Raises UserError if they are not found by name."""
    there = columns_in(file.path)
    of_seeds: dict[str, list[str]] = defaultdict(list)
    for name in there:
        found = _OF_SEED.fullmatch(name)
        of_seeds[found[1] if found else name].append(name)
    chosen = []
    for stated, known, option, names in (
        (file.file_column, FILE_COLUMNS, "--file-column", there),
        (file.score_column, SCORE_COLUMNS, "--score-column", [*of_seeds]),
    ):
        alike = [stated] if stated else [name for name in names if name.lower() in known]
        if len(alike) != 1:
            named = f"several columns that may be meant, {', '.join(alike)}" if alike else "no column of a known name"
            raise UserError(f"{file.path}: has {named}; name one of {', '.join(there)} with {option}")
        chosen.append(alike[0])
    scores = [chosen[1]] if chosen[1] in there else of_seeds.get(chosen[1], [chosen[1]])
    if scores != [chosen[1]] and scores != [f"{chosen[1]}[{seed}]" for seed in range(len(scores))]:
        raise UserError(f"{file.path}: columns {', '.join(scores)}: expected the seeds from 0 on, in their order")
    window = next((name for name in (START, WINDOW) if name in there and name not in chosen), None)
    seed = SEED if SEED in there and SEED not in chosen else None
    if seed and len(scores) > 1:
        raise UserError(f"{file.path}: has seeds in the columns {', '.join(scores)} and in a column '{SEED}'; keep one")
    return _Columns(chosen[0], chosen[1], tuple(scores), window, seed)


def _seed(cell: Any, place: str) -> int:
    text = str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
    if not text.isdecimal() or len(text) > 18:
        raise UserError(f"{place}: column '{SEED}' has {text[:40]!r}, which is not a whole number of 0 or more")
    return int(text)


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
        found = scipy.special.expit(signed) if file.scale == LOG_ODDS else 0.5 * (1 + signed / (1 + np.abs(signed)))
    if len(np.unique(found)) < len(np.unique(values)):
        hint = f"use --scale {RANK}" if file.scale == LOG_ODDS else "divide them by their largest absolute value"
        raise UserError(f"{file.path}: different scores become equal as P(fake), which would change ranks; {hint}")
    return found
