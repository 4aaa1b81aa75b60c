"""Paired comparison of two systems on the same clips.

    N clips   S runs of a system

Systems tend to err on the same difficult identities, so their two intervals say little about the difference: both are
measured on every replicate of the bootstrap over identities (`avdfd.metrics.bootstrap`).

References:
    DeLong et al., "Comparing the areas under two or more correlated ROC curves", Biometrics 1988.
    Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997.
"""

from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from avdfd.metrics import bootstrap, roc
from avdfd.metrics.roc import Floats


def paired_auc(
    labels: ArrayLike,
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: ArrayLike,
    *,
    same_runs: bool = False,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare AUCs: `difference` (ours - theirs), its 95 % `interval`, the two-sided `p` of no difference, `delong_p`.

    Scores are (N,) or (S, N). `same_runs` is for two scores of the same runs, such as two branches of a system. `p`
    agrees with the interval: it is below 0.05 about when the interval excludes 0. `delong_p` is a test without
    resampling, for one run of each system. `interval` and both p-values are None if there is nothing to resample.
    """
    y, a, b = np.asarray(labels), np.atleast_2d(ours), np.atleast_2d(theirs)
    if same_runs:
        assert len(a) == len(b), "branches of the same runs have equally many scores"

    def areas(scores: Floats) -> bootstrap.Statistic:
        return lambda weights, run: {"auc": roc.area(roc.roc(y, scores[run], weights))}

    def sample(scores: Floats, system: int) -> Floats:
        drawn = bootstrap.draw(
            areas(scores), y, groups, runs=len(scores), replicates=replicates, seed=seed, system=system
        )
        return drawn.samples.get("auc", np.empty(0))

    value = float(np.mean([roc.auc(y, s) for s in a]) - np.mean([roc.auc(y, s) for s in b]))
    differences = sample(a, 0) - sample(b, 0 if same_runs else 1)
    one_each = len(a) == len(b) == 1
    return {
        "difference": value,
        "interval": bootstrap.interval(differences),
        "p": p_value(differences),
        "delong_p": delong(y, a[0], b[0], groups) if one_each and len(differences) else None,
    }


def p_value(differences: Floats) -> float | None:
    """Two-sided p-value from replicates of a difference: twice the share on the smaller side of 0, plus one count."""
    if not len(differences):
        return None
    fewer = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (fewer + 1) / (len(differences) + 1)))


def delong(labels: ArrayLike, ours: ArrayLike, theirs: ArrayLike, groups: ArrayLike) -> float | None:
    """Two-sided p-value of equal AUC, with variances of the clips' contributions summed within groups (Obuchowski).

    It equals DeLong's test if every clip is its own group. None if there are fewer than two groups with fakes or fewer
    than two with reals. Raises ValueError as `avdfd.metrics.roc.roc`.
    """
    y = np.asarray(labels)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    components = placements(y, ours) - placements(y, theirs)  # the difference is linear in them
    difference = components[y == 1].mean()
    left_over = components - difference
    count = member.max() + 1
    of_fakes = np.bincount(member[y == 1], left_over[y == 1], count) / (y == 1).sum()
    of_reals = np.bincount(member[y == 0], left_over[y == 0], count) / (y == 0).sum()
    with_fakes, with_reals = len(np.unique(member[y == 1])), len(np.unique(member[y == 0]))
    if min(with_fakes, with_reals) < 2:
        return None
    variance = (
        with_fakes / (with_fakes - 1) * (of_fakes**2).sum()
        + with_reals / (with_reals - 1) * (of_reals**2).sum()
        + 2 * count / (count - 1) * (of_fakes * of_reals).sum()
    )
    if variance <= 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * scipy.special.ndtr(-abs(difference) / np.sqrt(variance)))


def placements(labels: np.ndarray, scores: ArrayLike) -> Floats:
    """Return (N,): for a fake the share of reals below it, for a real the share of fakes above it; ties count half."""
    roc.roc(labels, scores)  # raises ValueError for invalid input
    s = np.asarray(scores, np.float64)
    placed = np.empty(len(s))
    for label in (0, 1):
        mine = labels == label
        others = np.sort(s[~mine])
        below, up_to = (np.searchsorted(others, s[mine], side) for side in ("left", "right"))
        placed[mine] = (below + up_to) / 2 / len(others)
    placed[labels == 0] = 1 - placed[labels == 0]
    return placed
