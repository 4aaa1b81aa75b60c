"""Scores from a file for the windows of an element store: its rows may be these windows, other windows, or clips.

M windows of the store   S seeds
"""

from collections.abc import Sequence

import numpy as np

from avdfd.elements import ElementMeta, coded, times
from avdfd.evaluation.score_file import START, ClipScores, Scored
from avdfd.metrics.pooling import pooled
from avdfd.metrics.roc import Floats

_SAME = 0.02
"""Largest difference of two starts, in seconds, of the same window: half a frame."""


def of_windows(metas: Sequence[ElementMeta], scored: Scored) -> Floats | None:
    """Return the scores (S, M) of windows that have one each: every clip's rows are its windows in the store.

    None if the rows are clips, or other windows: of another number or, where the file states starts, at other times.
    """
    if scored.window_column is None:
        return None
    found = np.empty((len(scored.seeds), len(metas)))
    for source, rows in _by_clip(metas):
        of, starts = scored.scores[source], times(metas)[rows, 0]
        order = np.argsort(starts, kind="stable")
        if len(of.places) != len(rows):
            return None
        if scored.window_column == START and np.abs(starts[order] - of.places).max() > _SAME:
            return None
        found[:, rows[order]] = of.values
    return found


def of_clips(metas: Sequence[ElementMeta], scored: Scored, rule: str) -> Floats:
    """Return for every window the score (S, M) of its clip, whose rows are pooled by a rule."""
    found = np.empty((len(scored.seeds), len(metas)))
    for source, rows in _by_clip(metas):
        found[:, rows] = _pooled(scored.scores[source], rule)[:, None]
    return found


def _pooled(of: ClipScores, rule: str) -> Floats:
    member = np.zeros(len(of.places), np.int64)
    return np.array([pooled(values, member, rule)[0] for values in of.values])


def _by_clip(metas: Sequence[ElementMeta]) -> list[tuple[str, np.ndarray]]:
    """Return the rows of the windows of each clip, by its source."""
    sources = coded(metas, "source")
    order = np.argsort(sources.codes, kind="stable")
    present, first = np.unique(sources.codes[order], return_index=True)
    return list(zip((sources.values[code] for code in present.tolist()), np.split(order, first[1:]), strict=True))
