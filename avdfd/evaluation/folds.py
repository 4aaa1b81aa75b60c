"""Cross-validation: the evaluation of every fold's run, and what all folds say together."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.config import RunConfig
from avdfd.evaluation.evaluate import Evaluation, Request, evaluate
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES, TUNED
from avdfd.evaluation.pages import page_metrics
from avdfd.evaluation.scored_clips import join_clips
from avdfd.metrics import bootstrap, roc
from avdfd.metrics.roc import Floats
from avdfd.training import distributed
from avdfd.training.distributed import World

METRICS = ("auc", "ap", "balanced_accuracy", "eer", TUNED, FALSE_ALARMS, MISSES)


def evaluate_folds(
    configs: Sequence[RunConfig],
    world: World,
    finish: Callable[[Evaluation], None],
    *,
    tiers: Sequence[str] = (),
) -> list[Evaluation]:
    """Evaluate the run of every fold on validation, for its thresholds, and on test; return the test evaluations.

    `finish` writes an evaluation to its folder. The first process does all of it; the others wait, fold by fold, so
    that none of them ends the job early, and return an empty list. `tiers` are the fake tiers to include, empty for
    all.
    """
    tested = []
    for cfg in configs:
        for split in ("validation", "test"):
            if world.first:
                run = str(Path(cfg.runs) / cfg.name)
                done = evaluate(Request(run, split=split, tiers=tiers, device=cfg.device))
                finish(done)
                tested += [done] if split == "test" else []
            distributed.all_reduce_max(world, 0)
    return tested


def summarise(tested: Sequence[Evaluation], *, replicates: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the main branch's metrics: mean and standard deviation (n - 1) over folds, and `pooled` over all clips."""
    results = [done.result for done in tested]
    main = results[0]["main"]
    sections = {"overall": [result["overall"][main] for result in results]}
    for tier in results[0]["tiers"]:
        sections[tier] = [result["tiers"][tier][main] for result in results if tier in result["tiers"]]
    return {
        "folds": [str(done.folder) for done in tested],
        "branch": main,
        "pooled": _pooled(tested, main, replicates, seed),
        "metrics": {name: _over_folds(metrics) for name, metrics in sections.items()},
    }


def summarise_pages(tested: Sequence[Evaluation], *, replicates: int = 1000, seed: int = 0) -> dict[str, Any] | None:
    """Return the page metrics of the main branch over the test clips of all folds; None if no page is known.

    Each page is scored by the run of its fold, and scores are compared only within a page.
    """
    main = tested[0].result["main"]
    return page_metrics(join_clips([done.clips for done in tested]), main, replicates=replicates, seed=seed)


def _pooled(tested: Sequence[Evaluation], main: str, replicates: int, seed: int) -> dict[str, Any]:
    """Return AUC and EER over the test clips of all folds together, and the errors at the threshold that each fold's
    validation has fitted, with intervals over identities; without these errors if a fold has no threshold.
    """
    clips = join_clips([done.clips for done in tested])
    scores = clips.scores[main][0]
    thresholds = [done.result["fitted"][main]["eer_threshold"][0] for done in tested if main in done.result["fitted"]]
    called = None
    if len(thresholds) == len(tested):
        called = (scores >= np.repeat(thresholds, [len(done.clips) for done in tested])).astype(np.float64)

    def statistic(weights: Floats | None, run: int) -> dict[str, Any]:
        found = roc.all_metrics(roc.roc(clips.label, scores, weights), {})
        values: dict[str, Any] = {name: found[name] for name in ("auc", "eer")}
        if called is not None:
            values[FALSE_ALARMS], values[MISSES] = roc.errors_at(roc.roc(clips.label, called, weights), 0.5)
        return values

    found = bootstrap.measure(statistic, clips.label, clips.identity, replicates=replicates, seed=seed)
    return {"clips": len(clips), "fakes": int(clips.label.sum()), **found}


def _over_folds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return every metric that all folds have."""
    common = [name for name in METRICS if all(name in one for one in metrics)]
    return {name: _spread([one[name] for one in metrics]) for name in common}


def _spread(values: list[float]) -> dict[str, Any]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": spread, "folds": values}
