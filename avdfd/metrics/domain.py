"""Distance of clips from a training set: whether a clip is of the kind that a system was trained on.

    N clips or windows   C classes   D features

The distance is that of Mahalanobis from the nearest class, with a covariance that the classes share. It says nothing
about real or fake: a clip that is unlike all training data has a score, and that score means nothing.

References:
    Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018.
    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", JMVA 2004.
    Vovk et al., "Algorithmic Learning in a Random World", 2005 (quantiles of a calibration set).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avdfd.metrics.roc import Floats

ALLOWED = 0.01
"""Share of clips like those of validation that may be called out of domain."""
PARTS = 10
"""Parts in which groups are left out, and so the fewest groups of which that makes sense."""
OVERALL = "overall"
"""Name of the distance of all branches together."""
_TINY = 1e-12  # a distance of equal features
_FLOOR = 1e-3  # of the median standard deviation: less varies by rounding alone


class Reference(NamedTuple):
    """Description of training data."""

    means: Floats
    """(C, D) mean of each class."""
    whitening: Floats
    """(D, D) by which differences from a mean are multiplied: their length is the distance."""


def fit(features: ArrayLike, classes: ArrayLike) -> Reference:
    """Return the reference of features (N, D) of classes (N,)."""
    x = np.asarray(features, np.float64)
    names, member = np.unique(np.asarray(classes), return_inverse=True)
    means = np.stack([x[member == number].mean(axis=0) for number in range(len(names))])
    rest = x - means[member]
    scale = rest.std(axis=0)
    scale = np.maximum(scale, _FLOOR * max(float(np.median(scale)), _TINY))
    values, vectors = np.linalg.eigh(shrunk_covariance(rest / scale))
    values = np.maximum(values, max(_FLOOR**2 * float(values.mean()), _TINY))
    # Divided by the number of features, so that clips of the training set are at a distance of about 1.
    return Reference(means, vectors / np.sqrt(values * x.shape[1]) / scale[:, None])


def shrunk_covariance(rest: Floats) -> Floats:
    """Return the covariance of centred features (N, D), shrunk towards a multiple of the identity as far as is best."""
    count, width = rest.shape
    covariance = rest.T @ rest / count
    mean = np.trace(covariance) / width
    off = covariance - mean * np.eye(width)
    apart = float(np.square(off).sum())
    noise = (float(np.square(np.square(rest).sum(axis=1)).sum()) / count - float(np.square(covariance).sum())) / count
    share = 1.0 if apart == 0 else min(max(noise, 0.0) / apart, 1.0)
    return covariance - share * off


def distances(reference: Reference, features: ArrayLike) -> Floats:
    """Return the distance (N,) of features (N, D) from the nearest class."""
    x = np.asarray(features, np.float64)
    each = [np.linalg.norm((x - mean) @ reference.whitening, axis=1) for mean in reference.means]
    return np.min(each, axis=0)


def distances_left_out(
    features: ArrayLike, classes: ArrayLike, groups: ArrayLike, judged: ArrayLike, of: ArrayLike
) -> Floats:
    """Return the distance (M,) of features `judged` (M, D), of groups `of` (M,), from those (N, D) of other groups.

    Groups of the features, such as identities, are left out a tenth at a time. Clips that are part of a reference are
    nearer to it than clips of new groups are.
    """
    x, member, names = np.asarray(features, np.float64), np.asarray(groups), np.asarray(classes)
    known, group = np.asarray(judged, np.float64), np.asarray(of)
    found = np.full(len(known), np.nan)
    for part in np.array_split(np.unique(member), PARTS):
        kept, own = ~np.isin(member, part), np.isin(group, part)
        found[own] = distances(fit(x[kept], names[kept]), known[own])
    return found


def combined(found: Mapping[str, Floats], calibration: Mapping[str, Floats]) -> Floats:
    """Return the distance of clips in all branches together: the largest of them, each divided by its limit.

    `found` has the distances (M,) of the clips by branch, `calibration` those (N,) of the calibration clips. 1 is the
    limit of all: each branch has an equal part of the allowed share (Bonferroni), so that it holds for any number of
    branches, and a branch in which some calibration clips are far leaves the limits of the others alone.
    """
    share = ALLOWED / len(found)
    return np.max([values / max(limit(calibration[branch], share), _TINY) for branch, values in found.items()], axis=0)


def limit(calibration: ArrayLike, allowed: float = ALLOWED) -> float:
    """Return the distance that at most this share of clips like the calibration clips (N,) exceeds.

    With fewer than 1 / `allowed` clips it is the largest of theirs, which a share of 1 / (N + 1) is expected to exceed.
    """
    ordered = np.sort(np.asarray(calibration, np.float64))
    rank = int(np.ceil((len(ordered) + 1) * (1 - allowed) - 1e-9))
    return float(ordered[min(rank, len(ordered)) - 1])


def percentile(calibration: ArrayLike, distance: float) -> float:
    """Return the percentage of calibration clips (N,) that are nearer than a distance."""
    return float(100 * (np.asarray(calibration, np.float64) < distance).mean())
