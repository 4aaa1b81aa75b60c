"""Detection metrics, each for one set of clips or for many weightings of it at once (the bootstrap).

    N clips   R replicates   K distinct scores

Labels are 0 (real) and 1 (fake), scores grow with P(fake); a clip is called fake at or above a threshold. Clips with
equal scores are called alike, so the order in which they come never matters. Every metric follows from how many fakes
and how many reals are called fake at each threshold, and that is computed once, for all metrics and replicates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DCF_PRIOR, DCF_MISS, DCF_ALARM = 0.05, 10.0, 1.0
"""Of the detection cost: prior of a fake, cost of one that passes, cost of a real that is called fake."""


class Roc(NamedTuple):
    """What is called fake as the threshold comes down; the first column is a threshold above every score."""

    thresholds: Floats
    """(K,) distinct scores, falling."""
    hits: Floats
    """(..., K + 1) weight of the fakes called fake."""
    alarms: Floats
    """(..., K + 1) weight of the reals called fake."""
    tpr: Floats
    """(..., K + 1) part of the fakes called fake."""
    fpr: Floats
    """(..., K + 1) part of the reals called fake."""


def roc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Roc:
    """Counts (N,) labels and scores at every threshold; `weights` (..., N) counts each clip that many times.

    Raises ValueError for one class only, labels other than 0 and 1, scores that are not finite, unequal lengths.
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
    """Area under the ROC curve: the probability that a fake scores above a real, ties counted half."""
    return float(area(roc(labels, scores)))


def auc_within(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float:
    """Mean over groups (N,) of the AUC of their clips: scores of different groups are not compared.

    Groups of one class say nothing; NaN if there are no others.
    """
    y, s, of = np.asarray(labels), np.asarray(scores), np.asarray(groups)
    members = (of == group for group in np.unique(of))
    found = [auc(y[own], s[own]) for own in members if 0 < y[own].sum() < own.sum()]
    return float(np.mean(found)) if found else float("nan")


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision averaged over the steps of recall, without interpolation. At chance it is the part of fakes."""
    return float(_average_precision(roc(labels, scores)))


def eer(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Equal error rate: where the straight-line ROC curve has as many false alarms as misses."""
    return float(_eer(roc(labels, scores, weights)))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Part of the fakes found at the lowest threshold that calls at most `fpr` of the reals fake."""
    return float(_tpr_at_fpr(roc(labels, scores), fpr))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the parts of fakes and of reals that are called right."""
    return float(_balanced_accuracy(roc(labels, scores), threshold))


def eer_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold whose rates of false alarms and misses are the closest, halfway to the next lower score."""
    curve = roc(labels, scores)
    balance = np.abs(curve.fpr + curve.tpr - 1)
    best = int(np.argmin(balance[1:]))
    return float(curve.thresholds[best : best + 2].mean())


def min_dcf(labels: ArrayLike, scores: ArrayLike) -> float:
    """Minimum normalised detection cost, at the best threshold for DCF_PRIOR and the costs; 1 at worst.

    References: NIST SRE's detection cost; parameters and normalisation of ASVspoof 5 (Wang et al., 2024): a fake has a
    prior of 0.05, a fake that passes costs 10, a real that is called fake costs 1, and all is divided by the cost of
    the better of the two systems that do not listen.
    """
    return float(_min_dcf(roc(labels, scores)))


def of_curve(curve: Roc, thresholds: Mapping[str, float]) -> dict[str, Floats]:
    """Every metric of each weighting (...,) by name.

    `thresholds` maps the names under which balanced accuracy is reported to the thresholds it is taken at.
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
    """Area under each curve by trapezoids, which is what counts ties half."""
    tpr, fpr = curve.tpr, curve.fpr
    return (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1])).sum(axis=-1) / 2


def _average_precision(curve: Roc) -> Floats:
    """Sum over thresholds of precision times the step of recall."""
    called = curve.hits + curve.alarms
    precision = curve.hits / np.where(called > 0, called, 1)
    return (np.diff(curve.tpr) * precision[..., 1:]).sum(axis=-1)


def _eer(curve: Roc) -> Floats:
    """Where fpr = 1 - tpr, interpolated linearly between thresholds."""
    fpr = curve.fpr
    balance = fpr + curve.tpr - 1  # -1 at the first threshold, 1 at the last, never falling
    after = np.argmax(balance >= 0, axis=-1)[..., None]
    low, high = (np.take_along_axis(balance, i, axis=-1) for i in (after - 1, after))
    before, beyond = (np.take_along_axis(fpr, i, axis=-1) for i in (after - 1, after))
    return (before + (beyond - before) * -low / (high - low))[..., 0]


def _tpr_at_fpr(curve: Roc, fpr: float) -> Floats:
    """No interpolation: the best rate that some threshold really has."""
    last = (curve.fpr <= fpr).sum(axis=-1, keepdims=True) - 1
    return np.take_along_axis(curve.tpr, last, axis=-1)[..., 0]


def _balanced_accuracy(curve: Roc, threshold: float) -> Floats:
    """Mean of true positive and true negative rate."""
    called = int((curve.thresholds >= threshold).sum())
    return (curve.tpr[..., called] + 1 - curve.fpr[..., called]) / 2


def _min_dcf(curve: Roc) -> Floats:
    """The least of false alarms and misses over the thresholds, each with its prior and cost."""
    alarm, miss = (1 - DCF_PRIOR) * DCF_ALARM, DCF_PRIOR * DCF_MISS
    return (alarm * curve.fpr + miss * (1 - curve.tpr)).min(axis=-1) / min(alarm, miss)


def _called(scores: Floats, weights: Floats, chosen: NDArray[np.bool_], thresholds: Floats) -> Floats:
    """Weight of the chosen clips at or above each threshold, which fall; 0 before the first one: (..., K + 1)."""
    members = np.flatnonzero(chosen)
    members = members[np.argsort(-scores[members], kind="stable")]
    total = np.zeros((*weights.shape[:-1], len(members) + 1))
    np.cumsum(weights[..., members], axis=-1, out=total[..., 1:])
    return total[..., np.append(0, np.searchsorted(-scores[members], -thresholds, side="right"))]
