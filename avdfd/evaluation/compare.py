"""Comparison of several evaluated systems on the same clips, each by the score of its main branch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from avdfd.core.errors import UserError
from avdfd.evaluation.carriers import branch_aucs
from avdfd.evaluation.grouped_metrics import grouped_metrics
from avdfd.evaluation.stored import OF_FILES, StoredEvaluation

_SAME = ("tier", "label", "identity", "windows")


def compare(systems: Sequence[StoredEvaluation], reference: str, *, replicates: int, seed: int) -> dict[str, Any]:
    """Return the content of compare.json: the grouped metrics of all systems, with `reference` as the main one.

    They are comparable (`check_comparable`).
    """
    first = systems[0]
    reports = {system.name: system.report for system in systems}
    clips = replace(first.clips, scores={s.name: s.clips.scores[s.name] for s in systems})
    fitted = {name: of["fitted"][of["main"]] for name, of in reports.items() if of["main"] in of["fitted"]}
    if first.report["split"] in ("train", "validation"):
        fitted = {}
    return {
        "split": first.report["split"],
        "elements": first.report["elements"],
        "pooling": first.report["pooling"],
        "bootstrap": replicates,
        "seed": seed,
        "systems": {name: _about(report) for name, report in reports.items()},
        "fitted": fitted,
        "counterfactuals": {name: of.get("counterfactuals") for name, of in reports.items()},
        "branch_aucs": {name: branch_aucs(of) for name, of in reports.items()},
        "audits": {name: of["audit"] for name, of in reports.items() if "audit" in of},
        **grouped_metrics(clips, reference, [reference], fitted, replicates=replicates, seed=seed),
    }


def check_comparable(systems: Sequence[StoredEvaluation]) -> None:
    """Raise UserError if two systems have the same name, or different clips or pooling."""
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"two systems would be called '{twice}'; name every run once, or rename a folder")
    for other in systems[1:]:
        _check_same(systems[0], other)


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("kind", "main", "runs", "protocol", "git")}


def _check_same(first: StoredEvaluation, other: StoredEvaluation) -> None:
    """Raise UserError unless both systems were evaluated on the same clips with the same pooling.

    Scores from a file are compared with any pooling.
    """
    rules = [one.report["pooling"]["windows"] for one in (first, other)]
    if OF_FILES not in rules and first.report["pooling"] != other.report["pooling"]:
        raise UserError(
            f"{other.folder}: windows are pooled by {rules[1]}, in {first.folder} by {rules[0]}; "
            "evaluate both with the same --windows"
        )
    ours, theirs = set(first.clips.source), set(other.clips.source)
    if ours != theirs:
        raise UserError(
            f"{other.folder}: evaluated on other clips than {first.folder}: {len(theirs - ours)} only in the former, "
            f"{len(ours - theirs)} only in the latter, e.g. {min(ours ^ theirs)}; "
            "evaluate both on the same elements and split"
        )
    for name in _SAME:
        differ = getattr(first.clips, name) != getattr(other.clips, name)
        if differ.any():
            raise UserError(
                f"{other.folder}: the {name} of {first.clips.source[differ.argmax()]} differs from "
                f"{first.folder}; evaluate both on the same elements"
            )
