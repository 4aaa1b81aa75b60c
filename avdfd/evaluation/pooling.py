"""From the scores of elements, windows of 3.072 s, to those of clips.

    M elements   N clips   S runs of one system

Windows are pooled as probabilities, not as logits: by their mean, their largest, or the mean of the k largest. The most
suspicious windows say more about a clip of which a second is fake, but a long clip has more of them to be wrong in.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avdfd.core.clips import CLIP_FIELDS
from avdfd.elements import ElementMeta, coded
from avdfd.inference.scoring import Scores
from avdfd.metrics.roc import Floats

DOMAIN = "probability"
Texts = NDArray[np.object_]
_NOT_IN_CSV = ("base", "sha256", "page")
"""Facts about a clip that scores.csv leaves out; those that it has are columns under the names of their fields."""
_RENAMED = {"source": "clip", "identities": "identity"}
_CSV_COLUMNS = {name: _RENAMED.get(name, name) for name in CLIP_FIELDS if name not in _NOT_IN_CSV}
"""Field of ClipMeta -> its column of scores.csv."""


@dataclass(frozen=True)
class Clips:
    """N clips, or windows by themselves, as columns."""

    facts: dict[str, Texts]
    """Field of ClipMeta -> (N,) its values, as all columns that follow; of several identities, the first."""
    label: NDArray[np.int64]
    windows: NDArray[np.int64]
    """Number of windows."""
    scores: dict[str, Floats]
    """Branch, or other system -> P(fake), (S, N)."""
    weight_audio: Floats | None = None
    """(N,) mean over windows and runs."""
    discrepancy: Floats | None = None
    """(N,) likewise."""
    distance: Floats | None = None
    """(N,) likewise."""
    embedding: Floats | None = None
    """(N, P) mean over windows, of the first run: what two runs learn are two spaces."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def source(self) -> Texts:
        """(N,) as all facts."""
        return self.facts["source"]

    @property
    def tier(self) -> Texts:
        return self.facts["tier"]

    @property
    def identity(self) -> Texts:
        """Main identity of each clip."""
        return self.facts["identities"]

    @property
    def method(self) -> Texts:
        return self.facts["method"]

    def where(self, mask: NDArray[np.bool_]) -> "Clips":
        """Return the clips for which `mask` (N,) is true."""
        columns: dict[str, Any] = {
            name: column[mask] for name, column in vars(self).items() if isinstance(column, np.ndarray)
        }
        facts = {name: column[mask] for name, column in self.facts.items()}
        return replace(self, facts=facts, scores={name: s[:, mask] for name, s in self.scores.items()}, **columns)


def parse_rule(text: str) -> str:
    """A pooling rule, if it is one: "mean", "max", or "top" and a number. Raises ValueError."""
    if text not in ("mean", "max") and not re.fullmatch(r"top[1-9]\d*", text):
        raise ValueError(f"'{text}' is not mean, max or top and a number, as in top3")
    return text


def stack(runs: Sequence[Scores]) -> Scores:
    """The scores of S runs on the same elements as one: branches (S, M), what explains them as means."""
    assert all(run.keys == runs[0].keys for run in runs), "the same elements"

    def mean(columns: list[np.ndarray | None]) -> np.ndarray | None:
        there = [column for column in columns if column is not None]
        return np.mean(there, axis=0) if there else None

    branches = {name: np.stack([run.branch[name] for run in runs]) for name in runs[0].branch}
    return Scores(
        runs[0].keys,
        branches,
        w_audio=mean([run.w_audio for run in runs]),
        discrepancy=mean([run.discrepancy for run in runs]),
        distance=mean([run.distance for run in runs]),
        embedding=runs[0].embedding,
    )


def pool(metas: Sequence[ElementMeta], scores: Scores, rule: str = "mean") -> Clips:
    """Elements to clips, in the order in which the clips come first; what explains a score is always averaged.

    A clip with fewer windows than a rule wants gives all of them. Branches are (M,) or (S, M).
    """
    sources = coded(metas, "source")
    _, first, inverse = np.unique(sources.codes, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return _columns(metas, np.sort(first), place[inverse], scores, rule)


def as_they_are(metas: Sequence[ElementMeta], scores: Scores) -> Clips:
    """Every window by itself."""
    rows = np.arange(len(metas))
    return _columns(metas, rows, rows, scores, "mean")


def rows(clips: Clips) -> Iterator[list[Any]]:
    """For scores.csv: the names of the columns, then a row per clip with all digits of its scores, so that equal scores
    stay equal and different ones different. Of several runs, each has a column."""
    scores = [
        zip(_columns_of(name, len(values)), values.tolist(), strict=True) for name, values in clips.scores.items()
    ]
    explained = {"weight_audio": clips.weight_audio, "discrepancy": clips.discrepancy}
    explained["prototype_distance"] = clips.distance
    nothing = [None] * len(clips)
    columns = {
        **_fact_columns(clips),
        **dict(itertools.chain.from_iterable(scores)),
        **{name: nothing if values is None else values.tolist() for name, values in explained.items()},
    }
    yield list(columns)
    yield from (list(row) for row in zip(*columns.values(), strict=True))


def from_rows(rows: Sequence[Mapping[str, str]], branch: str, runs: int, *, name: str) -> Clips:
    """The clips of a scores.csv, whose lines have their columns by name, with the scores of one branch under a name.

    Raises KeyError and ValueError for what `rows` has not made.
    """
    facts = {name: np.array([row[column] for row in rows], object) for name, column in _CSV_COLUMNS.items()}
    label, windows = (np.array([int(row[column]) for row in rows]) for column in ("label", "windows"))
    scores = np.array([[float(row[column]) for row in rows] for column in _columns_of(branch, runs)])
    return Clips(facts, label, windows, scores={name: scores})


def _fact_columns(clips: Clips) -> dict[str, Sequence[Any]]:
    """Return the columns of scores.csv that are no scores; the label is next to the tier."""
    facts: dict[str, Sequence[Any]] = {}
    for name, column in _CSV_COLUMNS.items():
        facts[column] = clips.facts[name].tolist()
        if name == "tier":
            facts["label"] = clips.label.tolist()
    return {**facts, "windows": clips.windows.tolist()}


def _columns_of(branch: str, runs: int) -> list[str]:
    """The columns of scores.csv that a branch has."""
    return [branch] if runs == 1 else [f"{branch}[{run}]" for run in range(runs)]


def _columns(metas: Sequence[ElementMeta], first: np.ndarray, member: np.ndarray, scores: Scores, rule: str) -> Clips:
    """Clips whose first windows are at `first`; window i belongs to clip `member[i]`."""
    count = np.bincount(member)

    def mean(values: np.ndarray) -> Floats:
        return np.bincount(member, values) / count

    def pooled(values: np.ndarray) -> Floats:
        if rule == "mean":
            return mean(values)
        order = np.lexsort((-values, member))
        rank = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        most = 1 if rule == "max" else int(rule.removeprefix("top"))
        chosen = order[rank < most]
        return np.bincount(member[chosen], values[chosen]) / np.minimum(count, most)

    def field(name: str) -> np.ndarray:
        codes, values = coded(metas, name)
        column = np.empty(len(values), object)
        column[:] = [value[0] for value in values] if name == "identities" else values
        return column[codes[first]]

    facts = {name: field(name) for name in CLIP_FIELDS}
    w_audio, discrepancy, distance, embedding = scores.w_audio, scores.discrepancy, scores.distance, scores.embedding
    return Clips(
        facts,
        label=field("label").astype(np.int64),
        windows=count,
        scores={
            name: np.stack([pooled(run) for run in np.atleast_2d(values)]) for name, values in scores.branch.items()
        },
        weight_audio=None if w_audio is None else mean(w_audio),
        discrepancy=None if discrepancy is None else mean(discrepancy.mean(axis=1)),
        distance=None if distance is None else mean(distance),
        embedding=None if embedding is None else np.stack([mean(column) for column in embedding.T], axis=1),
    )
