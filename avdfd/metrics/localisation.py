"""Temporal localisation: proposals of fake segments from a score curve, and how well they meet the fake periods.

P proposals   T fake periods   N clips   segments and periods are start and end in seconds

References:
    Cai et al., "Do You Really Mean That? Content Driven Audio-Visual Deepfake Dataset and Multimodal Method for
    Temporal Forgery Localization", DICTA 2022 (LAV-DF), and "AV-Deepfake1M", ACM MM 2024: AP and AR as computed here.
    Zhao et al., "Temporal Action Detection with Structured Segment Networks", ICCV 2017: proposals from a score curve
    by grouping at several thresholds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avdfd.metrics.roc import Floats

AP_IOUS = (0.5, 0.75, 0.95)
AR_COUNTS = (50, 20, 10)
AR_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

_LEVELS = 64
_MOST = 100  # proposals of a clip
_SAME = 0.7  # proposals that overlap more are one


class Curve(NamedTuple):
    """A piecewise constant score over a clip. There are gaps where no window is."""

    start: Floats
    """(C,), rising."""
    end: Floats
    """(C,)."""
    score: Floats
    """(C,)."""


class Proposals(NamedTuple):
    """Segments of a clip that may be fake, the most certain first."""

    segments: Floats
    """(P, 2)."""
    scores: Floats
    """(P,), falling."""


def curve(start: Floats, end: Floats, values: Floats) -> Curve:
    """Return the score over time of windows (W,) with values (W, S) of S even steps each.

    Where windows overlap, it is their mean.
    """
    steps = np.arange(values.shape[1] + 1) / values.shape[1]
    edges = (start[:, None] + steps * (end - start)[:, None]).round(6)
    times, place = np.unique(edges, return_inverse=True)
    place = place.reshape(edges.shape)
    total, count = np.zeros(len(times)), np.zeros(len(times))
    for sums, added in ((total, values), (count, np.ones_like(values, np.float64))):
        np.add.at(sums, place[:, :-1], added)
        np.subtract.at(sums, place[:, 1:], added)
    total, count = np.cumsum(total)[:-1], np.cumsum(count)[:-1].round()
    covered = count > 0
    # Rounded, so that equal scores stay equal after the sums.
    score = (total[covered] / count[covered]).round(9)
    return Curve(times[:-1][covered], times[1:][covered], score)


def propose(over_time: Curve) -> Proposals:
    """Return the proposals of a clip: at each of up to 64 levels of the curve, the stretches that are nowhere lower.

    A proposal's score is the mean of the curve in it. Of proposals that nearly coincide (IoU above 0.7), the one with
    the highest score is kept, and of all, the 100 with the highest.
    """
    start, end, score = over_time
    levels = np.unique(score)
    if len(levels) > _LEVELS:
        levels = np.unique(np.quantile(score, np.linspace(0, 1, _LEVELS)))
    area = np.concatenate([[0.0], np.cumsum(score * (end - start))])
    gap = np.concatenate([[True], start[1:] > end[:-1] + 1e-6, [True]])
    found: set[tuple[int, int]] = set()
    for level in levels:
        high = np.concatenate([[False], score >= level, [False]])
        first = np.flatnonzero(high[1:-1] & (~high[:-2] | gap[:-1]))
        last = np.flatnonzero(high[1:-1] & (~high[2:] | gap[1:]))
        found |= set(zip(first.tolist(), last.tolist(), strict=True))
    if not found:
        return Proposals(np.empty((0, 2)), np.empty(0))
    first, last = np.array(sorted(found)).T
    segments = np.stack([start[first], end[last]], axis=1)
    scores = ((area[last + 1] - area[first]) / (segments[:, 1] - segments[:, 0])).round(9)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    overlaps = iou(segments, segments)
    for one in order.tolist():
        if len(kept) < _MOST and not (overlaps[one, kept] > _SAME).any():
            kept.append(one)
    return Proposals(segments[kept], scores[kept])


def iou(segments: Floats, periods: Floats) -> Floats:
    """Return the intersection over union of segments (P, 2) and periods (T, 2): (P, T)."""
    inside = np.minimum(segments[:, None, 1], periods[None, :, 1]) - np.maximum(
        segments[:, None, 0], periods[None, :, 0]
    )
    inside = np.maximum(inside, 0.0)
    lengths = np.subtract(*segments.T[::-1])[:, None] + np.subtract(*periods.T[::-1])[None]
    union = lengths - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


class Matches(NamedTuple):
    """The hits and misses of the proposals of N clips."""

    scores: Floats
    """(P,) of all proposals of all clips, falling."""
    clip: np.ndarray
    """(P,) number of the clip of each."""
    hits: np.ndarray
    """(K, P) bool: at each IoU of AP_IOUS, the proposals that find a period which none before them has found."""
    recalled: Floats
    """(N, 3) number of periods that the best 50, 20 and 10 proposals find, the mean over AR_IOUS."""
    periods: Floats
    """(N,) number of periods."""


def match(proposals: Sequence[Proposals], periods: Sequence[Floats]) -> Matches:
    """Match the proposals of each clip with its fake periods (T, 2).

    A proposal finds a period if their IoU is above the threshold. For AP, a period is found once, by the first proposal
    in the order of scores that has found no other; for AR, a proposal may find several.
    """
    hits, recalled = [], np.zeros((len(periods), len(AR_COUNTS)))
    for clip, (found, truth) in enumerate(zip(proposals, periods, strict=True)):
        overlaps = iou(found.segments, truth.reshape(-1, 2))
        hits.append(np.stack([_firsts(overlaps > threshold) for threshold in AP_IOUS]))
        if overlaps.size:
            best = [overlaps[:count].max(axis=0) for count in AR_COUNTS]
            recalled[clip] = [np.mean([(one > threshold).sum() for threshold in AR_IOUS]) for one in best]
    scores = np.concatenate([one.scores for one in proposals])
    order = np.argsort(-scores, kind="stable")
    clips = np.repeat(np.arange(len(proposals)), [len(one.scores) for one in proposals])
    counts = np.array([len(one) for one in periods], np.float64)
    return Matches(scores[order], clips[order], np.concatenate(hits, axis=1)[:, order], recalled, counts)


def _firsts(potential: np.ndarray) -> np.ndarray:
    """Return the proposals (P,) that count as true positives, given which of them overlap which period (P, T)."""
    taken = np.zeros(len(potential), bool)
    for of_period in potential.T:
        free = np.flatnonzero(of_period & ~taken)
        taken[free[:1]] = True
    return taken


def measures(found: Matches, weights: Floats | None = None) -> dict[str, Floats]:
    """Return AP at each IoU of AP_IOUS and AR at each number of AR_COUNTS: "ap_0.5" ..., "ar_50" ....

    Values are numbers, or (R,) for weights (R, N) of the clips. Without any period, they are 0.
    """
    rows = np.ones((1, len(found.periods))) if weights is None else weights
    total = np.maximum(rows @ found.periods, 1e-9)
    values = {f"ap_{iou:g}": np.empty(len(rows)) for iou in AP_IOUS}
    for row, weight in enumerate(rows):
        of_proposal = weight[found.clip]
        seen = np.maximum(np.cumsum(of_proposal), 1e-9)
        for name, hit in zip(values, found.hits, strict=True):
            true = np.cumsum(of_proposal * hit)
            precision = np.maximum.accumulate((true / seen)[::-1])[::-1]
            values[name][row] = (np.diff(true, prepend=0.0) * precision).sum() / total[row]
    recall = (rows @ found.recalled) / total[:, None]
    values |= {f"ar_{count}": column for count, column in zip(AR_COUNTS, recall.T, strict=True)}
    return {name: column[0] for name, column in values.items()} if weights is None else values
