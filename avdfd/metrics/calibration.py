"""Calibration of probabilities: of the clips scored 0.8, 80 % should be fake.

    N clips   B bins   R replicates

Scores are P(fake). Calibration holds for the clips' proportion of fakes only: a system that is calibrated on half fakes
overestimates P(fake) where fakes are rare.

References:
    Brier, "Verification of forecasts expressed in terms of probability", 1950.
    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (expected calibration
    error); Nguyen and O'Connor, EMNLP 2015 (bins of equal mass).
    Broecker and Smith, "Increasing the reliability of reliability diagrams", 2007 (consistency bars).
    Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature).
"""

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from avdfd.metrics.roc import Floats

BINS = 10
"""Largest number of bins of equal mass; clips with equal scores share a bin, so there may be fewer."""
_EPSILON = float(np.finfo(np.float64).eps)
_DRAWS = 1000


class Reliability(NamedTuple):
    """Reliability curve: clips in bins by score."""

    clips: NDArray[np.int64]
    """(B,) number of clips."""
    score: Floats
    """(B,) mean P(fake)."""
    fakes: Floats
    """(B,) proportion of fakes."""
    low: Floats
    """(B,) lower end of the 95 % interval of `fakes` if the scores were calibrated."""
    high: Floats
    """(B,) upper end."""
    ece: float
    """Expected calibration error: mean over clips of |`fakes` - `score`| in their bin."""
    ece_by_chance: float
    """Mean calibration error of calibrated scores on as many independent clips."""


def to_logits(probabilities: ArrayLike) -> Floats:
    """Return finite logits: probabilities are clipped to [eps, 1 - eps] with the float64 eps."""
    return scipy.special.logit(np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON))


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Return the temperature that maximises the likelihood of the labels; None if there is none.

    There is none if the scores do not favour the right labels on the whole, or if 0.5 separates the classes without an
    error: the likelihood then grows without limit as the temperature falls. Raises ValueError as `proper_scores`.
    """
    y, p = _checked(labels, probabilities)
    z = to_logits(p)
    signed = np.where(y == 1, z, -z)
    if signed.sum() <= 0 or (signed >= 0).all():
        return None

    def slope(log_scale: float) -> float:  # d likelihood / d inverse temperature, which decreases
        return float((signed * scipy.special.expit(-signed * np.exp(log_scale))).sum())

    low, high = -1.0, 1.0
    while slope(low) < 0:
        low *= 2
    while slope(high) > 0:
        high *= 2
    from scipy.optimize import brentq  # here, as it takes half a second and only fits need it

    return float(np.exp(-brentq(slope, low, high, xtol=1e-12)))


def at_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """Return the scores with their logits divided by a temperature; the ranking stays."""
    return scipy.special.expit(to_logits(probabilities) / temperature)


def proper_scores(labels: ArrayLike, probabilities: ArrayLike, weights: Floats | None = None) -> dict[str, Floats]:
    """Return `brier` and `log_loss` (nats), each (R,) for weights (R, N), or one number; lower is better.

    Raises ValueError if labels are not 0 or 1, scores are no probabilities or lengths differ.
    """
    y, p = _checked(labels, probabilities)
    z = to_logits(p)
    losses = np.stack([(p - y) ** 2, np.logaddexp(0, np.where(y == 1, -z, z))], axis=1)
    w = np.ones(len(y)) if weights is None else weights
    brier, log_loss = np.moveaxis(w @ losses / w.sum(axis=-1)[..., None], -1, 0)
    return {"brier": brier, "log_loss": log_loss}


def ece(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of P(fake) over bins of equal mass. Raises ValueError as `proper_scores`."""
    y, p = _checked(labels, probabilities)
    member, count = _bins(p, bins)
    return float(np.abs(np.bincount(member, p - y, len(count))).sum() / len(y))


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, runs: int = 1, bins: int = BINS) -> Reliability:
    """Return the reliability curve with its variation by chance. Raises ValueError as `proper_scores`.

    Scores of S runs of a system are concatenated, (S x N,); the sample size for chance is then N.
    """
    y, p = _checked(labels, probabilities)
    member, count = _bins(p, bins)
    score = np.bincount(member, p) / count
    fakes = np.bincount(member, y) / count
    rng = np.random.default_rng(0)
    drawn = rng.binomial(np.maximum(1, count // runs), score, size=(_DRAWS, len(count))) / np.maximum(1, count // runs)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    share = count / len(y)
    by_chance = float((np.abs(drawn - score) @ share).mean())
    return Reliability(count, score, fakes, low, high, float(np.abs(fakes - score) @ share), by_chance)


def as_json(curve: Reliability) -> dict[str, Any]:
    """Return the curve as it is stored in report.json."""
    return {key: np.asarray(value).round(6).tolist() for key, value in curve._asdict().items()}


def _bins(p: Floats, bins: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the bin of every clip, numbered by score without gaps, and the number of clips per bin."""
    _, distinct, same = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(same) - same / 2
    _, member = np.unique((bins * middle / len(p)).astype(int)[distinct], return_inverse=True)
    return member, np.bincount(member)


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(y):
        raise ValueError(f"labels {y.shape} and scores {p.shape} must be two lists of the same length, above 0")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((p >= 0) & (p <= 1)).all():  # also catches NaN
        raise ValueError("scores must be probabilities")
    return y, p
