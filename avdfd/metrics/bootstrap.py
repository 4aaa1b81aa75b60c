"""Bootstrap intervals over identities, and over training runs if a system has several.

    N clips   R replicates   S runs of one system

Clips of one identity are not independent, so identities are resampled, each with all of its clips. A system trained S
times is reported by the mean over its runs. A replicate draws S - 1 runs with replacement: the mean of S - 1 draws has
the variance of the mean of S runs, which S draws would underestimate.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals).
    Rao and Wu, "Resampling inference with complex survey data", JASA 1988 (drawing n - 1 of n units).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avdfd.metrics import roc
from avdfd.metrics.roc import Floats

Statistic = Callable[[Floats | None, int], Mapping[str, Any]]
"""(weights (R, N), run) -> name -> values (R,). With weights None, every clip counts once and a value is a number."""

MOST_REPLICATES = 100_000
"""More replicates than any interval needs: an error in the number is refused before the memory ends."""
_CHUNK = 1_000_000  # replicates x clips held at once: 8 MB per array


class Drawn(NamedTuple):
    """Replicates of statistics."""

    samples: dict[str, Floats]
    """Name -> (R,); empty if there are fewer than two groups."""
    dropped: int
    """Number of replicates left out because they lack one of the classes."""


def weightings(groups: ArrayLike, replicates: int, seed: int) -> Iterator[Floats]:
    """Yield how often each clip counts in each replicate, in chunks (R, N). Yields nothing for fewer than two groups.

    The same seed and groups give the same replicates, so that systems are compared on the same identities.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(member))
    for done in range(0, replicates, step):
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(step, replicates - done))
        yield draws[:, member].astype(np.float64)


def run_weightings(runs: int, replicates: int, seed: Sequence[int]) -> Floats:
    """Return the weight of each run in each replicate: (R, S); rows add up to 1."""
    if runs == 1:
        return np.ones((replicates, 1))
    drawn = np.random.default_rng(seed).multinomial(runs - 1, np.full(runs, 1 / runs), size=replicates)
    return drawn / (runs - 1)


def draw(
    statistic: Statistic,
    labels: ArrayLike | None,
    groups: ArrayLike,
    *,
    runs: int = 1,
    replicates: int = 1000,
    seed: int = 0,
    system: int = 0,
) -> Drawn:
    """Return replicates of a statistic's mean over runs.

    Systems with different `system` numbers draw their runs independently. Replicates without both classes are left
    out; if `labels` is None, none is.
    """
    y = None if labels is None else np.asarray(labels)
    of_runs = run_weightings(runs, replicates, (seed, system))
    samples: dict[str, list[Floats]] = {}
    done = dropped = 0
    for weights in weightings(groups, replicates, seed):
        usable = np.ones(len(weights), bool) if y is None else (weights @ y > 0) & (weights @ (1 - y) > 0)
        share = of_runs[done : done + len(weights)][usable]
        done, dropped = done + len(weights), dropped + int((~usable).sum())
        values = [statistic(weights[usable], run) for run in range(runs)]
        for name in values[0]:
            samples.setdefault(name, []).append(sum(share[:, run] * values[run][name] for run in range(runs)))
    return Drawn({name: np.concatenate(parts) for name, parts in samples.items()}, dropped)


def measure(
    statistic: Statistic,
    labels: ArrayLike | None,
    groups: ArrayLike,
    *,
    runs: int = 1,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return values with 95 % intervals: `{name: value, name_interval: [low, high], ..., bootstrap_dropped: n}`.

    `groups` (N,) holds the unit of resampling of each clip, its identity. The percentile interval is None for a single
    group or 0 replicates. For several runs the value is their mean, and `name_deviation` their standard deviation
    (n - 1).
    """
    values = [statistic(None, run) for run in range(runs)]
    drawn = draw(statistic, labels, groups, runs=runs, replicates=replicates, seed=seed)
    result: dict[str, Any] = {}
    for name in values[0]:
        of_run = [float(value[name]) for value in values]
        result[name] = float(np.mean(of_run))
        result[f"{name}_interval"] = interval(drawn.samples.get(name, np.empty(0)))
        if runs > 1:
            result[f"{name}_deviation"] = float(np.std(of_run, ddof=1))
    return result | {"bootstrap_dropped": drawn.dropped}


def auc(labels: np.ndarray, scores: Floats, groups: ArrayLike, replicates: int, seed: int) -> dict[str, Any]:
    """Return the `auc` of the scores (S, N) of runs, and its `auc_interval` over groups and runs."""

    def area(weights: Floats | None, run: int) -> dict[str, Any]:
        return {"auc": roc.area(roc.roc(labels, scores[run], weights))}

    return measure(area, labels, groups, runs=len(scores), replicates=replicates, seed=seed)


def interval(samples: Floats) -> list[float] | None:
    """Return the central 95 % interval of replicates; None if there are none."""
    return np.quantile(samples, [0.025, 0.975]).tolist() if len(samples) else None
