"""Detection metrics, for one set of clips or for many weightings of it at once (the bootstrap).

    N clips   R replicates   K distinct scores

Labels are 0 (real) and 1 (fake), scores increase with P(fake); a clip is called fake at or above a threshold. Clips
with equal scores get the same decision, so their order does not matter. Every metric follows from the numbers of fakes
and of reals called fake at each threshold, which are computed once for all metrics and replicates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DCF_PRIOR, DCF_MISS, DCF_ALARM = 0.05, 10.0, 1.0
"""Detection cost: prior of a fake, cost of a missed fake, cost of a real that is called fake."""


class Roc(NamedTuple):
    """Counts and rates of clips called fake per threshold; the first column is a threshold above every score."""

    thresholds: Floats
    """(K,) distinct scores, descending."""
    hits: Floats
    """(..., K + 1) weight of the fakes called fake."""
    alarms: Floats
    """(..., K + 1) weight of the reals called fake."""
    tpr: Floats
    """(..., K + 1) proportion of the fakes called fake."""
    fpr: Floats
    """(..., K + 1) proportion of the reals called fake."""


def roc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Roc:
    """Return the ROC curve of labels and scores (N,); `weights` (..., N) count each clip that many times.

    Raises ValueError for a single class, labels other than 0 and 1, non-finite scores and unequal lengths.
    """
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"labels {y.shape} and scores {s.shape} must be two lists of the same length")
    if not np.isin(y, (0, 1)).all() or len(np.unique(y)) < 2:
        raise ValueError(f"labels must hold both 0 and 1 and nothing else, got {np.unique(y)[:5]}")
    if not np.isfinite(s).all():
        raise ValueError("scores must be finite")
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    thresholds = np.unique(s)[::-1]
    hits, alarms = (_called(s, w, y == label, thresholds) for label in (1, 0))
    return Roc(thresholds, hits, alarms, hits / hits[..., -1:], alarms / alarms[..., -1:])


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a fake scores above a real; ties count half."""
    return float(area(roc(labels, scores)))


def auc_within(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float:
    """Mean AUC over groups (N,), without comparing scores across groups.

    Groups with a single class are left out; NaN if none remains.
    """
    y, s, of = np.asarray(labels), np.asarray(scores), np.asarray(groups)
    members = (of == group for group in np.unique(of))
    found = [auc(y[own], s[own]) for own in members if 0 < y[own].sum() < own.sum()]
    return float(np.mean(found)) if found else float("nan")


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over the steps of recall, without interpolation; at chance, the proportion of fakes."""
    return float(_average_precision(roc(labels, scores)))


def eer(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Equal error rate: the point of the linearly interpolated ROC curve where false-alarm and miss rates are equal."""
    return float(_eer(roc(labels, scores, weights)))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """True positive rate at the lowest threshold that calls at most `fpr` of the reals fake."""
    return float(_tpr_at_fpr(roc(labels, scores), fpr))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the true positive and true negative rates."""
    return float(_balanced_accuracy(roc(labels, scores), threshold))


def errors_at(curve: Roc, threshold: float) -> tuple[Floats, Floats]:
    """Return the proportion of reals called fake, and of fakes called real, at a threshold (...,)."""
    called = int((curve.thresholds >= threshold).sum())
    return curve.fpr[..., called], 1 - curve.tpr[..., called]


def eer_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """Threshold with the closest false-alarm and miss rates, placed halfway to the next lower score."""
    curve = roc(labels, scores)
    balance = np.abs(curve.fpr + curve.tpr - 1)
    best = int(np.argmin(balance[1:]))
    return float(curve.thresholds[best : best + 2].mean())


def min_dcf(labels: ArrayLike, scores: ArrayLike) -> float:
    """Minimum normalised detection cost over all thresholds; at most 1.

    References: NIST SRE's detection cost; parameters and normalisation of ASVspoof 5 (Wang et al., 2024): fakes have a
    prior of 0.05, a miss costs 10, a false alarm costs 1, and the sum is divided by the lower cost of the two constant
    decisions.
    """
    return float(_min_dcf(roc(labels, scores)))


def all_metrics(curve: Roc, thresholds: Mapping[str, float]) -> dict[str, Floats]:
    """Return name -> metric (...,) for each weighting.

    `thresholds` maps names to thresholds; balanced accuracy at each is reported under its name.
    """
    return {
        "auc": area(curve),
        "ap": _average_precision(curve),
        "eer": _eer(curve),
        "tpr_at_1_fpr": _tpr_at_fpr(curve, 0.01),
        "tpr_at_0_1_fpr": _tpr_at_fpr(curve, 0.001),
        "min_dcf": _min_dcf(curve),
        **{name: _balanced_accuracy(curve, threshold) for name, threshold in thresholds.items()},
    }


def area(curve: Roc) -> Floats:
    """Area under each curve by trapezoids, so that ties count half."""
    tpr, fpr = curve.tpr, curve.fpr
    return (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1])).sum(axis=-1) / 2


def _average_precision(curve: Roc) -> Floats:
    """Sum over thresholds of precision times the step of recall."""
    called = curve.hits + curve.alarms
    precision = curve.hits / np.where(called > 0, called, 1)
    return (np.diff(curve.tpr) * precision[..., 1:]).sum(axis=-1)


def _eer(curve: Roc) -> Floats:
    """False positive rate where fpr = 1 - tpr, interpolated linearly between thresholds."""
    fpr = curve.fpr
    balance = fpr + curve.tpr - 1  # from -1 at the first threshold to 1 at the last, non-decreasing
    after = np.argmax(balance >= 0, axis=-1)[..., None]
    low, high = (np.take_along_axis(balance, i, axis=-1) for i in (after - 1, after))
    before, beyond = (np.take_along_axis(fpr, i, axis=-1) for i in (after - 1, after))
    return (before + (beyond - before) * -low / (high - low))[..., 0]


def _tpr_at_fpr(curve: Roc, fpr: float) -> Floats:
    """Highest true positive rate of an actual threshold, without interpolation."""
    last = (curve.fpr <= fpr).sum(axis=-1, keepdims=True) - 1
    return np.take_along_axis(curve.tpr, last, axis=-1)[..., 0]


def _balanced_accuracy(curve: Roc, threshold: float) -> Floats:
    """Mean of true positive and true negative rate."""
    false_alarms, misses = errors_at(curve, threshold)
    return (1 - misses + 1 - false_alarms) / 2


def _min_dcf(curve: Roc) -> Floats:
    """Minimum over thresholds of the false alarm and miss rates weighted by prior and cost."""
    alarm, miss = (1 - DCF_PRIOR) * DCF_ALARM, DCF_PRIOR * DCF_MISS
    return (alarm * curve.fpr + miss * (1 - curve.tpr)).min(axis=-1) / min(alarm, miss)


def _called(scores: Floats, weights: Floats, chosen: NDArray[np.bool_], thresholds: Floats) -> Floats:
    """Return (..., K + 1): 0, then the weight of the chosen clips at or above each of the descending thresholds."""
    members = np.flatnonzero(chosen)
    members = members[np.argsort(-scores[members], kind="stable")]
    total = np.zeros((*weights.shape[:-1], len(members) + 1))
    np.cumsum(weights[..., members], axis=-1, out=total[..., 1:])
    return total[..., np.append(0, np.searchsorted(-scores[members], -thresholds, side="right"))]
