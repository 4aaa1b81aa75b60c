"""Detection metrics, each for one set of clips or for many weightings of it at once (the bootstrap).

    N clips   R replicates   K distinct scores

Labels are 0 (real) and 1 (fake), scores grow with P(fake); a clip is called fake at or above a threshold. Clips with
equal scores are called alike, so the order in which they come never matters. Every metric follows from how many fakes
and how many reals are called fake at each threshold, and that is computed once, for all metrics and replicates.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CHUNK = 2_000_000  # replicates x clips held at once: 16 MB per array


class Roc(NamedTuple):
    """What is called fake as the threshold comes down; the first column is a threshold above every score."""

    thresholds: Floats
    """(K,) distinct scores, falling."""
    hits: Floats
    """(..., K + 1) weight of the fakes called fake."""
    alarms: Floats
    """(..., K + 1) weight of the reals called fake."""

    @property
    def tpr(self) -> Floats:
        return self.hits / self.hits[..., -1:]

    @property
    def fpr(self) -> Floats:
        return self.alarms / self.alarms[..., -1:]


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
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))  # the last of every run of equal scores
    y, w = y[order], w[..., order]
    return Roc(s[order][last], _cumulate(w * y, last), _cumulate(w * (1 - y), last))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a fake scores above a real, ties counted half."""
    return float(area(roc(labels, scores)))


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


def measure(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    thresholds: dict[str, float],
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric with its bootstrap 95 % interval: `{metric: value, metric_interval: [low, high], ...}`.

    `groups` (N,) names what is resampled: identities are drawn with replacement, each with all of its clips, because
    clips of one person are not independent. Replicates without both classes say nothing and are dropped;
    `bootstrap_dropped` counts them. The interval (percentiles) is None for a single group or `replicates` 0.
    `thresholds` maps the names under which balanced accuracy is reported to the thresholds it is taken at.
    The same seed and groups draw the same replicates, whatever the scores, so that systems can be compared.
    """
    curve = roc(labels, scores)
    values = _all_metrics(curve, thresholds)
    result: dict[str, Any] = {name: float(value) for name, value in values.items()}
    result |= {f"{name}_interval": None for name in values}
    result["bootstrap_dropped"] = 0
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2 or replicates == 0:
        return result

    rng = np.random.default_rng(seed)
    y = np.asarray(labels)
    samples: dict[str, list[Floats]] = {name: [] for name in values}
    step = max(1, _CHUNK // len(y))
    for done in range(0, replicates, step):
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(step, replicates - done))
        weights = draws[:, member]
        usable = (weights @ y > 0) & (weights @ (1 - y) > 0)
        result["bootstrap_dropped"] += int((~usable).sum())
        for name, value in _all_metrics(roc(y, scores, weights[usable]), thresholds).items():
            samples[name].append(value)
    for name, parts in samples.items():
        pooled = np.concatenate(parts)
        if len(pooled):
            result[f"{name}_interval"] = np.quantile(pooled, [0.025, 0.975]).tolist()
    return result


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


def _all_metrics(curve: Roc, thresholds: dict[str, float]) -> dict[str, Floats]:
    return {
        "auc": area(curve),
        "ap": _average_precision(curve),
        "eer": _eer(curve),
        "tpr_at_1_fpr": _tpr_at_fpr(curve, 0.01),
        **{name: _balanced_accuracy(curve, threshold) for name, threshold in thresholds.items()},
    }


def _cumulate(weights: Floats, last: NDArray[np.intp]) -> Floats:
    total = np.cumsum(weights, axis=-1)[..., last]
    return np.concatenate([np.zeros_like(total[..., :1]), total], axis=-1)
