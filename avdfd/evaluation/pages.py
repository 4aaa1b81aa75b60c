"""Metrics by page: every web page is compared with itself, then pages are averaged.

    N clips   S runs of one system   P pairs of a fake and its original

Clips of one page share more than the manipulation: codec, level, speakers and the synthesis system. Scores are
therefore compared only within a page, and the intervals resample pages.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from avdfd.core.clips import UNKNOWN
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.metrics import bootstrap, roc
from avdfd.metrics.roc import Floats


def page_metrics(clips: ScoredClips, branch: str, *, replicates: int, seed: int) -> dict[str, Any] | None:
    """Return the metrics of a branch by page; None if the page of no clip is known.

    `pages`    page -> its AUC and EER, and `pair_accuracy`: the fraction of fakes that score above their own original
               (a tie counts half), None without such pairs
    `mean`     their means over pages, with 95 % intervals from pages drawn with replacement
    `methods`  method -> AUC of its fakes against the real clips of their page, averaged over pages

    Pages with one class are left out. A system of several runs has the mean over its runs.
    """
    if not clips.has_pages:
        return None
    pages, methods = {}, defaultdict(list)
    for name in sorted(set(clips.facts["page"]) - {UNKNOWN}):
        page = clips.where(clips.facts["page"] == name)
        real = page.label == 0
        if real.all() or not real.any():
            continue
        scores = page.scores[branch]
        wins = pair_wins(page, branch)
        pages[name] = {
            "clips": len(page),
            "fakes": int(page.label.sum()),
            "auc": _mean_over_runs(roc.auc, page.label, scores),
            "eer": _mean_over_runs(roc.eer, page.label, scores),
            "pairs": len(wins),
            "pair_accuracy": float(wins.mean()) if len(wins) else None,
        }
        for method in set(page.method[~real]):
            fakes = ~real & (page.method == method)
            chosen = real | fakes
            auc = _mean_over_runs(roc.auc, page.label[chosen], scores[:, chosen])
            methods[method].append((int(fakes.sum()), auc))
    values = {name: [page[name] for page in pages.values()] for name in ("auc", "eer", "pair_accuracy")}
    return {
        "pages": pages,
        "mean": {name: _mean_over_pages(found, replicates, seed) for name, found in values.items()},
        "methods": {
            name: {"fakes": sum(count for count, _ in found), "auc": float(np.mean([auc for _, auc in found]))}
            for name, found in sorted(methods.items())
        },
    }


def pair_wins(clips: ScoredClips, branch: str) -> Floats:
    """Return, for every fake whose original is among the clips, 1 if it scores above it, 0 if below, 0.5 if equal.

    (P,), the mean over runs.
    """
    position = {clips.source[i]: i for i in np.flatnonzero(clips.label == 0).tolist()}
    pairs = [
        (i, position[clips.facts["base"][i]])
        for i in np.flatnonzero(clips.label == 1).tolist()
        if clips.facts["base"][i] in position
    ]
    fakes, originals = np.array(pairs, np.int64).reshape(-1, 2).T
    scores = clips.scores[branch]
    return (0.5 + 0.5 * np.sign(scores[:, fakes] - scores[:, originals])).mean(axis=0)


def _mean_over_runs(metric: Any, labels: np.ndarray, scores: Floats) -> float:
    """Return the mean of a metric over runs, scores (S, N)."""
    return float(np.mean([metric(labels, run) for run in scores]))


def _mean_over_pages(values: Sequence[float | None], replicates: int, seed: int) -> dict[str, Any]:
    """Return the mean over the pages that have the value, with its interval; None without such a page."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"value": None, "interval": None, "pages": 0}
    draws = np.random.default_rng(seed).integers(len(known), size=(replicates, len(known)))
    interval = bootstrap.interval(known[draws].mean(axis=1)) if replicates else None
    return {"value": float(known.mean()), "interval": interval, "pages": len(known)}
