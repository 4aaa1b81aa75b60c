"""Data of the figures as rows for CSV files, from report.json."""

from collections.abc import Callable, Mapping
from typing import Any

from avdfd.report.frame import Rows
from avdfd.report.numbers import branch_weights

_BINS = ("score", "fakes", "low", "high")


def roc(curves: Mapping[str, Mapping[str, Any]]) -> Rows:
    points = [
        [name, *point] for name, curve in curves.items() for point in zip(curve["fpr"], curve["tpr"], strict=True)
    ]
    return [["name", "fpr", "tpr"], *points]


def distributions(result: Mapping[str, Any]) -> Rows:
    rows: list[list[Any]] = [["tier", "from", "to", "clips"]]
    for tier, counts in result["curves"]["distributions"].items():
        rows += [[tier, i / len(counts), (i + 1) / len(counts), count] for i, count in enumerate(counts)]
    return rows


def reliability(result: Mapping[str, Any]) -> Rows:
    curves = {name: curve for name, curve in result["calibration"][result["main"]].items() if curve}
    bins = [
        [name, *point]
        for name, curve in curves.items()
        for point in zip(*(curve[column] for column in _BINS), strict=True)
    ]
    return [["temperature", *_BINS], *bins]


def coverage_curves(result: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Return coverage and rate of errors of each kind, in the order of coverage."""
    rows = sorted(result["coverage"], key=lambda row: row["coverage"])
    decided = [row["coverage"] for row in rows]
    kinds = {"real clips called fake": "false_alarms", "fakes called real": "misses"}
    return {title: (decided, [row[name] for row in rows]) for title, name in kinds.items()}


def coverage(result: Mapping[str, Any]) -> Rows:
    names = ["allowed", "coverage", "false_alarms", "misses"]
    return [names, *([row[name] for name in names] for row in result["coverage"])]


def weights(result: Mapping[str, Any]) -> Rows:
    rows: list[list[Any]] = [["tier", "branch", "weight"]]
    for branch, tiers in branch_weights(result).items():
        rows += [[tier, branch, value] for tier, of in tiers.items() for value in of["values"]]
    return rows


POINTS: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "roc_branches": lambda result: roc(result["curves"]["roc_branches"]),
    "roc_tiers": lambda result: roc(result["curves"]["roc_tiers"]),
    "distributions": distributions,
    "reliability": reliability,
    "coverage": coverage,
    "weights": weights,
}
"""Name of a figure -> its rows."""
