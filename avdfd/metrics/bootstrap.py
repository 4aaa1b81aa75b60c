"""Bootstrap intervals over people, and over training runs where a system has several.

    N clips   R replicates   S runs of one system

Clips of one person are not independent, so people are drawn, each with all of their clips. What is reported of a system
that was trained S times is the mean over its runs; a replicate draws S - 1 of them, with replacement, because that many
have the variance of the mean of S, which S drawn ones would understate.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals).
    Rao and Wu, "Resampling inference with complex survey data", JASA 1988 (drawing n - 1 of n units).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from avdfd.metrics.roc import Floats

Statistic = Callable[[Floats | None, int], Mapping[str, Any]]
"""(weights (R, N), run) -> values (R,) by name; without weights, every clip counts once and a value is a number."""

_CHUNK = 1_000_000  # replicates x clips held at once: 8 MB per array


class Drawn(NamedTuple):
    """Replicates of some statistics."""

    samples: dict[str, Floats]
    """(R,) of each; empty where there is nothing to draw from."""
    dropped: int
    """Replicates without both classes, which say nothing."""


def weightings(groups: ArrayLike, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each clip counts in each replicate: (R, N) whole numbers, in chunks. None for fewer than two groups.

    The same seed and groups draw the same replicates, so that systems are compared on the same people.
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
    """How much each run counts in each replicate: (R, S), every row adds up to 1."""
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
    """Replicates of a statistic's mean over runs. `system` tells apart systems whose runs are drawn by themselves.

    Without labels, every replicate counts.
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
    """A statistic with its 95 % intervals: `{name: value, name_interval: [low, high], ..., bootstrap_dropped: n}`.

    `groups` (N,) names what is resampled, an identity for each clip. The interval (percentiles) is None for a single
    group or `replicates` 0. Of several runs the value is the mean, and `name_deviation` is theirs (n - 1).
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


def interval(samples: Floats) -> list[float] | None:
    """The middle 95 % of replicates; None if there are none."""
    return np.quantile(samples, [0.025, 0.975]).tolist() if len(samples) else None
