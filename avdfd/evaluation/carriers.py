"""Branches that find the fakes of a tier, and the side of real clips on which the consistency of fakes is.

A branch carries a tier if its AUC on it is above chance. The log-ratio of consistency has two sides: dubs are less in
sync than real clips, and some talking heads more so. An AUC of "less in sync" below 0.5 says the latter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.metrics.bootstrap import auc


def carried(tiers: Mapping[str, Mapping[str, Any]], branches: Sequence[str]) -> dict[str, dict[str, list[str]]] | None:
    """Return, for each tier, the branches that are `above` chance, highest AUC first, and those that are `below`.

    The 95 % interval of AUC decides. `tiers` has the metrics of every branch by tier. None without intervals, and for
    a system of one branch.
    """
    if not branches or any(of[name]["auc_interval"] is None for of in tiers.values() for name in branches):
        return None
    found = {}
    for tier, of in tiers.items():
        ranked = sorted(branches, key=lambda name: -of[name]["auc"])
        above = [name for name in ranked if of[name]["auc_interval"][0] > 0.5]
        below = [name for name in reversed(ranked) if of[name]["auc_interval"][1] < 0.5]
        found[tier] = {"above": above, "below": below}
    return found


def branch_aucs(report: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `auc` and `auc_interval` by branch, overall and by tier, from a report.json; empty for one branch.

    Branches are those of the evaluated system; the main one is left out.
    """
    names = [name for name in report["branches"] if name != report["main"] and name not in report["against"]]
    parts = {"overall": report["overall"], **report["tiers"]}
    return {
        name: {part: {key: of[name][key] for key in ("auc", "auc_interval")} for part, of in parts.items()}
        for name in names
    }


def less_in_sync(parts: Mapping[str, ScoredClips], *, replicates: int, seed: int) -> dict[str, Any] | None:
    """Return, for each part, the `auc` of fakes being less in sync than real clips, with its `auc_interval`.

    None without a log-ratio of consistency.
    """
    found = {}
    for name, clips in parts.items():
        if clips.log_ratio is None:
            return None
        found[name] = auc(clips.label, -clips.log_ratio[None], clips.identity, replicates, seed)
    return found
