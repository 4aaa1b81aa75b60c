"""Formatting of the numbers of report.json, and the list of its metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES, TUNED
from avdfd.metrics.localisation import AP_IOUS, AR_COUNTS

NAMES = {
    "ap": "AP",
    "eer": "EER",
    "balanced_accuracy": "Balanced accuracy at 0.5",
    TUNED: "Balanced accuracy, validation threshold",
    FALSE_ALARMS: "False alarms, validation threshold",
    MISSES: "Misses, validation threshold",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
    "tpr_at_0_1_fpr": "TPR at 0.1 % FPR",
    "min_dcf": "minDCF",
}

LOCALISED = {
    **{f"ap_{iou:g}": f"AP at IoU {iou:g}" for iou in AP_IOUS},
    **{f"ar_{count}": f"AR of {count}" for count in AR_COUNTS},
}


def sections(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the overall section, then each tier, with its name."""
    yield "overall", result["overall"]
    yield from result["tiers"].items()


def others(result: Mapping[str, Any]) -> list[str]:
    """Return the measured metrics other than AUC."""
    return [name for name in NAMES if name in result["overall"][result["main"]]]


def branch_weights(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the weights of the branches in the fused score by branch and tier; empty for a system without fusion."""
    weights = {branch: result.get(f"weight_{branch}") for branch in result["branches"]}
    return {branch: of for branch, of in weights.items() if of}


def number(value: float) -> str:
    return f"{value:.3f}"


def p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def temperatures(fitted: Mapping[str, Any]) -> str:
    return " / ".join("–" if t is None else f"{t:.2f}" for t in fitted["temperature"])


def difference(pair: Mapping[str, Any]) -> str:
    interval = pair["interval"]
    text = f"{pair['difference']:+.3f}"
    return f"{text} [{interval[0]:+.3f}, {interval[1]:+.3f}] p {p(pair['p'])}" if interval else text


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    interval = metrics[f"{name}_interval"]
    return number(metrics[name]) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def html_interval(metrics: Mapping[str, Any], name: str) -> str:
    if name not in metrics:  # validation of this system was not evaluated
        return "–"
    interval = metrics.get(f"{name}_interval")
    below = f"<span class=interval>{interval[0]:.3f} – {interval[1]:.3f}</span>" if interval else ""
    return number(metrics[name]) + below


def align(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def sure(apart: Mapping[str, Any]) -> bool:
    """Return True if the `interval` of a difference excludes 0; False without an interval."""
    interval = apart["interval"]
    return interval is not None and (interval[0] > 0 or interval[1] < 0)
