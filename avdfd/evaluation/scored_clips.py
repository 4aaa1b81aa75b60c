"""Scored clips as columns, scores.csv, which holds them, and windows.csv, which holds their windows.

N clips   S runs of one system   P width of the embedding
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS, PERIOD_FIELDS, UNKNOWN
from avdfd.metrics.roc import Floats

Texts = NDArray[np.object_]
_PAGE_FACTS = ("page", "base")
"""Facts that metrics by page need: columns of scores.csv where the page of any clip is known."""
_NOT_IN_CSV = ("sha256", "has_video", *_PAGE_FACTS, *PERIOD_FIELDS)
"""Facts about a clip that are no regular columns; every other fact is a column under the name of its field."""
_RENAMED = {"source": "clip", "identities": "identity"}
_CSV_COLUMNS = {name: _RENAMED.get(name, name) for name in CLIP_FIELDS if name not in _NOT_IN_CSV}
"""Field of ClipMeta -> its column of scores.csv."""
_WINDOW_COLUMNS = {"times": ("start", "end"), "fake_seconds": ("audio_fake_seconds", "visual_fake_seconds")}
"""Fields of windows -> their columns of windows.csv."""
_CSV_DEFAULTS = {column: CLIP_DEFAULTS[name] for name, column in _CSV_COLUMNS.items() if name in CLIP_DEFAULTS}


@dataclass(frozen=True)
class ScoredClips:
    """N clips with their scores, or N windows, each by itself."""

    facts: dict[str, Texts]
    """Field of ClipMeta -> its values (N,); of several identities, the first."""
    label: NDArray[np.int64]
    """(N,), 1 = fake; of a window its own, which may be real in a fake clip."""
    windows: NDArray[np.int64]
    """(N,) number of windows."""
    short: NDArray[np.bool_]
    """(N,) True for clips that are shorter than a window."""
    scores: dict[str, Floats]
    """Branch, or name of another system -> P(fake), (S, N)."""
    weights: dict[str, Floats] = field(default_factory=dict)
    """Branch -> (N,) its weight in the fused score, mean over windows and runs; empty for a system without fusion."""
    distances: dict[str, Floats] = field(default_factory=dict)
    """Branch -> (N,) distance from the training data, mean over windows; empty without a domain of the run."""
    log_ratio: Floats | None = None
    """(N,) log-ratio of consistency, mean over frames, windows and runs; low if audio and mouth do not belong
    together."""
    lag: Floats | None = None
    """(N,) ms by which the audio is late, as far as the mouth shows it: the lag at which the correlation of both, mean
    over windows and runs, is highest."""
    discrepancy: Floats | None = None
    """(N,) audio-visual discrepancy, mean over windows and runs."""
    distance: Floats | None = None
    """(N,) distance to the prototype of real speech, mean over windows and runs."""
    times: Floats | None = None
    """(N, 2) start and end in seconds of the clip; windows only."""
    fake_seconds: Floats | None = None
    """(N, 2) seconds in which the audio and the video are fake; windows only."""
    embedding: Floats | None = None
    """(N, P) mean over windows, of the first run alone: the embedding spaces of two runs are not comparable."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def source(self) -> Texts:
        """(N,) names of the clips."""
        return self.facts["source"]

    @property
    def tier(self) -> Texts:
        return self.facts["tier"]

    @property
    def identity(self) -> Texts:
        """(N,) main identity of each clip."""
        return self.facts["identities"]

    @property
    def method(self) -> Texts:
        return self.facts["method"]

    @property
    def has_pages(self) -> bool:
        """True if the page of any clip is known."""
        return "page" in self.facts and set(self.facts["page"]) != {UNKNOWN}

    def where(self, mask: NDArray[np.bool_]) -> "ScoredClips":
        """Return the clips for which `mask` (N,) is true."""
        columns: dict[str, Any] = {
            name: column[mask] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        facts = {name: column[mask] for name, column in self.facts.items()}
        weights = {name: column[mask] for name, column in self.weights.items()}
        distances = {name: column[mask] for name, column in self.distances.items()}
        scores = {name: values[:, mask] for name, values in self.scores.items()}
        return replace(self, facts=facts, weights=weights, distances=distances, scores=scores, **columns)


def join_clips(parts: Sequence[ScoredClips]) -> ScoredClips:
    """Return the clips of several evaluations together, with their scores and without what explains them.

    All parts have the scores of the same branches.
    """
    return ScoredClips(
        {name: np.concatenate([part.facts[name] for part in parts]) for name in parts[0].facts},
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.windows for part in parts]),
        np.concatenate([part.short for part in parts]),
        {name: np.concatenate([part.scores[name] for part in parts], axis=1) for name in parts[0].scores},
    )


def csv_rows(clips: ScoredClips) -> Iterator[list[Any]]:
    """Yield the rows of scores.csv, or of windows.csv: the column names, then one row per clip or window.

    Scores keep all their digits, so that equal scores stay equal and different ones different. A system of several
    runs has one column per run.
    """
    scores: dict[str, Sequence[Any]] = {}
    for name, values in clips.scores.items():
        scores |= dict(zip(score_columns(name, len(values)), values.tolist(), strict=True))
    explained = {"weight_audio": None, **{f"weight_{name}": values for name, values in clips.weights.items()}}
    explained |= {f"domain_{name}": values for name, values in clips.distances.items()}
    explained |= {"discrepancy": clips.discrepancy, "prototype_distance": clips.distance}
    explained |= {} if clips.log_ratio is None else {"log_ratio": clips.log_ratio, "lag_ms": clips.lag}
    empty = [None] * len(clips)
    of_windows: dict[str, Sequence[Any]] = {}
    for name, names in _WINDOW_COLUMNS.items():
        values = getattr(clips, name)
        of_windows |= {} if values is None else dict(zip(names, values.T.tolist(), strict=True))
    columns = {
        **_fact_columns(clips),
        **of_windows,
        **scores,
        **{name: empty if values is None else values.tolist() for name, values in explained.items()},
        **({name: clips.facts[name].tolist() for name in _PAGE_FACTS} if clips.has_pages else {}),
    }
    yield list(columns)
    yield from (list(row) for row in zip(*columns.values(), strict=True))


def from_csv(rows: Sequence[Mapping[str, str]], branch: str, runs: int, *, name: str) -> ScoredClips:
    """Return the clips of a scores.csv, given as rows by column name, with the scores of one branch under `name`.

    A fact that the file lacks gets its default. Raises KeyError or ValueError for rows that `csv_rows` has not made.
    """
    rows = [{**_CSV_DEFAULTS, **row} for row in rows]
    facts = {name: np.array([row[column] for row in rows], object) for name, column in _CSV_COLUMNS.items()}
    if rows and _PAGE_FACTS[0] in rows[0]:
        facts |= {name: np.array([row[name] for row in rows], object) for name in _PAGE_FACTS}
    label, windows = (np.array([int(row[column]) for row in rows]) for column in ("label", "windows"))
    short = np.array([row.get("short") == "true" for row in rows], bool)
    scores = np.array([[float(row[column]) for row in rows] for column in score_columns(branch, runs)])
    return ScoredClips(facts, label, windows, short, scores={name: scores})


def _fact_columns(clips: ScoredClips) -> dict[str, Sequence[Any]]:
    """Return the columns of scores.csv that are not scores; the label follows the tier."""
    facts: dict[str, Sequence[Any]] = {}
    for name, column in _CSV_COLUMNS.items():
        facts[column] = clips.facts[name].tolist()
        if name == "tier":
            facts["label"] = clips.label.tolist()
    short = ["true" if is_short else "false" for is_short in clips.short.tolist()]
    return {**facts, "windows": clips.windows.tolist(), "short": short}


def score_columns(branch: str, runs: int) -> list[str]:
    """Return the columns of scores.csv that hold the scores of a branch."""
    return [branch] if runs == 1 else [f"{branch}[{run}]" for run in range(runs)]
