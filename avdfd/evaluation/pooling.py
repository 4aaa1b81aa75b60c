"""Pooling of the scores of elements, windows of 3.072 s, to scores of clips.

    M elements   N clips   S runs of one system

Windows are pooled as probabilities, not as logits: by their mean, their maximum, or the mean of the k largest. The
largest scores matter most for a clip with a short fake segment, but a long real clip has more windows to be wrong in.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avdfd.core.clips import CLIP_FIELDS
from avdfd.elements import ElementMeta, coded, fake_seconds, times, window_labels
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.features.window import is_short
from avdfd.inference.columns import best_lag
from avdfd.inference.scoring import Scores
from avdfd.metrics.pooling import pooled
from avdfd.metrics.roc import Floats

DOMAIN = "probability"


def stack(runs: Sequence[Scores]) -> Scores:
    """Return the scores of S runs on the same elements as one: branches (S, M), and explanations averaged over runs."""
    assert all(run.keys == runs[0].keys for run in runs), "the same elements"

    def mean(columns: list[np.ndarray | None]) -> np.ndarray | None:
        there = [column for column in columns if column is not None]
        return np.mean(there, axis=0) if there else None

    branches = {name: np.stack([run.branch[name] for run in runs]) for name in runs[0].branch}
    return Scores(
        runs[0].keys,
        branches,
        weights={name: np.mean([run.weights[name] for run in runs], axis=0) for name in runs[0].weights},
        distances={name: np.mean([run.distances[name] for run in runs], axis=0) for name in runs[0].distances},
        frames=mean([run.frames for run in runs]),
        agreement=mean([run.agreement for run in runs]),
        discrepancy=mean([run.discrepancy for run in runs]),
        distance=mean([run.distance for run in runs]),
        embedding=runs[0].embedding,
    )


def pool(metas: Sequence[ElementMeta], scores: Scores, rule: str = "mean") -> ScoredClips:
    """Pool elements to clips, in the order of each clip's first element. Explanations of scores are always averaged.

    A clip with fewer windows than the rule asks for uses all of them. Branches are (M,) or (S, M).
    """
    sources = coded(metas, "source")
    _, first, inverse = np.unique(sources.codes, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return _columns(metas, np.sort(first), place[inverse], scores, rule)


def per_window(metas: Sequence[ElementMeta], scores: Scores) -> ScoredClips:
    """Return every window as if it were a clip, with its own label and times."""
    rows = np.arange(len(metas))
    return replace(
        _columns(metas, rows, rows, scores, "mean"),
        label=window_labels(metas),
        times=times(metas),
        fake_seconds=fake_seconds(metas).round(6),
    )


def _columns(
    metas: Sequence[ElementMeta], first: np.ndarray, member: np.ndarray, scores: Scores, rule: str
) -> ScoredClips:
    """Return the clips whose first windows are at `first`; window i belongs to clip `member[i]`."""

    def mean(values: np.ndarray) -> Floats:
        return pooled(values, member, "mean")

    def field(name: str) -> np.ndarray:
        codes, values = coded(metas, name)
        column = np.empty(len(values), object)
        column[:] = [value[0] for value in values] if name == "identities" else values
        return column[codes[first]]

    facts = {name: field(name) for name in CLIP_FIELDS}
    short = np.array([is_short(start, end) for start, end in times(metas)[first].tolist()], bool)

    def vectors(values: np.ndarray) -> Floats:
        return np.stack([mean(column) for column in values.T], axis=1)

    frames, agreement, discrepancy = scores.frames, scores.agreement, scores.discrepancy
    distance, embedding = scores.distance, scores.embedding
    return ScoredClips(
        facts,
        label=field("label").astype(np.int64),
        windows=np.bincount(member),
        short=short,
        scores={
            name: np.stack([pooled(run, member, rule) for run in np.atleast_2d(values)])
            for name, values in scores.branch.items()
        },
        weights={name: mean(values) for name, values in scores.weights.items()},
        distances={name: mean(values) for name, values in scores.distances.items()},
        log_ratio=None if frames is None else mean(frames.mean(axis=1)),
        lag=None if agreement is None else best_lag(vectors(agreement)),
        discrepancy=None if discrepancy is None else mean(discrepancy.mean(axis=1)),
        distance=None if distance is None else mean(distance),
        embedding=None if embedding is None else vectors(embedding),
    )
