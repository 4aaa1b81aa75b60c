"""Decisions that may be left open: real below a band of scores, fake above it, uncertain within.

    N clips

Scores are P(fake). Two kinds of errors are counted apart: real clips called fake, of all real clips, and fakes called
real, of all fakes.

References:
    El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 11, 2010.
    Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017 (coverage and risk).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avdfd.metrics import roc

ALLOWED = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of errors of each kind for which a band is fitted."""
DEFAULT = 0.05


class Band(NamedTuple):
    """Scores from `low` up to `high` are undecided; with `low` equal to `high`, every score is decided."""

    low: float
    high: float

    def call(self, score: float) -> str:
        """Return the verdict on a score: real, fake or uncertain."""
        return "fake" if score >= self.high else "real" if score < self.low else "uncertain"


class Decision(NamedTuple):
    """How the score of a clip becomes a verdict."""

    band: Band
    temperature: float | None = None
    """Temperature of the score; None if none was fitted."""
    windows: str = "mean"
    """Rule by which the scores of windows are pooled: mean, max, or top and a number."""
    calibrated: bool = False
    """True if band and temperature were fitted on validation."""


class Selected(NamedTuple):
    """Clips decided by a band, all as shares."""

    coverage: float
    """Decided clips, of all."""
    false_alarms: float
    """Real clips called fake, of all real clips."""
    misses: float
    """Fakes called real, of all fakes."""


def fit_band(labels: ArrayLike, scores: ArrayLike, allowed: float = DEFAULT) -> Band:
    """Return the narrowest band that makes at most this share of errors of each kind on clips of both classes (N,).

    If a single threshold makes fewer, it is that of equal error rates.
    """
    y, s = np.asarray(labels), np.asarray(scores, np.float64)
    real, fake = np.sort(s[y == 0])[::-1], np.sort(s[y == 1])
    # One more clip at these scores would be one error too many.
    high = float(np.nextafter(real[_most(allowed, len(real))], np.inf))
    low = float(fake[_most(allowed, len(fake))])
    if low < high:
        return Band(low, high)
    threshold = min(max(float(roc.eer_threshold(y, s)), high), low)
    return Band(threshold, threshold)


def select(labels: ArrayLike, scores: ArrayLike, band: Band) -> Selected:
    """Return what a band decides of clips of both classes (N,), and its errors."""
    y, s = np.asarray(labels), np.asarray(scores, np.float64)
    fake, real = s >= band.high, s < band.low
    return Selected(float((fake | real).mean()), float(fake[y == 0].mean()), float(real[y == 1].mean()))


def _most(allowed: float, count: int) -> int:
    """Return the number of errors that may be made among `count` clips; 0.05 of 20 is 1, whatever the rounding."""
    return min(int(allowed * count + 1e-9), count - 1)
