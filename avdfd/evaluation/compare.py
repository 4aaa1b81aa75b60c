"""What evaluate.py has written of several systems, brought together: the same clips, a score of each system.

The main branch of a system is its score. Several seeds of a system are joined by commas, as they were for evaluate.py.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.evaluation.judge import judge
from avdfd.evaluation.pooling import Clips, from_rows
from avdfd.evaluation.provenance import folder_of
from avdfd.training.run_folder import BEST

_SAME = ("tier", "label", "identity", "windows")


@dataclass(frozen=True)
class Evaluated:
    """A system's report.json and scores.csv."""

    name: str
    folder: Path
    report: dict[str, Any]
    clips: Clips
    """With the main branch alone, under the system's name; in the order of their names."""


def read(names: str, split: str, folder: str | None = None) -> Evaluated:
    """The evaluation of a run, or of runs joined by commas, on a split; `folder` is evaluate.py's --name.

    Raises UserError, with the command that is missing, if there is none, or if the run was trained on since.
    """
    runs = [Path(name) for name in names.split(",")]
    place = folder_of(runs[0], len(runs), folder or split)
    command = f"bash evaluate.sh --run {names} --split {split}" + (f" --name {folder}" if folder else "")
    for run in runs:
        if not run.is_dir():
            raise UserError(f"{run}: no such run folder; correct the name, or train it first")
    try:
        report = json.loads((place / "report.json").read_text(encoding="utf-8"))
        with (place / "scores.csv").open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["clip"])
        main, weights = report["main"], [run["checkpoint_sha256"] for run in report["runs"]]
        clips = from_rows(rows, main, len(weights), name=runs[0].name)
    except FileNotFoundError:
        raise UserError(f"{names}: not evaluated on {folder or split}; run {command}") from None
    except (KeyError, ValueError):
        raise UserError(f"{place}: damaged, or of another version; run {command} again") from None
    if report["split"] != split:
        raise UserError(f"{place}: is of the split '{report['split']}'; give --split {report['split']}")
    if weights != [sha256_of(run / BEST) if (run / BEST).is_file() else old for run, old in zip(runs, weights)]:  # noqa: B905
        raise UserError(f"{names}: other weights than those that were evaluated; run {command} again")
    return Evaluated(runs[0].name, place, report, clips)


def compare(systems: Sequence[Evaluated], reference: str, *, replicates: int, seed: int) -> dict[str, Any]:
    """Content of compare.json: all that `evaluation.judge` says of the systems' scores, `reference` the main one.

    Raises UserError if two systems have one name, or were judged on other clips or otherwise.
    """
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"two systems would be called '{twice}'; name every run once, or rename a folder")
    first = systems[0]
    for other in systems[1:]:
        _check_same(first, other)
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
        "audits": {name: of["audit"] for name, of in reports.items() if "audit" in of},
        **judge(clips, reference, [reference], fitted, replicates=replicates, seed=seed),
    }


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("kind", "main", "runs", "protocol", "git")}


def _check_same(first: Evaluated, other: Evaluated) -> None:
    """Raises UserError unless both were judged on the very same clips, pooled the same way."""
    if first.report["pooling"] != other.report["pooling"]:
        rules = [one.report["pooling"]["windows"] for one in (first, other)]
        raise UserError(
            f"{other.folder}: windows are pooled by {rules[1]}, in {first.folder} by {rules[0]}; "
            "evaluate both with the same --windows"
        )
    ours, theirs = set(first.clips.source), set(other.clips.source)
    if ours != theirs:
        raise UserError(
            f"{other.folder}: judged on other clips than {first.folder}: {len(theirs - ours)} are only there and "
            f"{len(ours - theirs)} only here, e.g. {min(ours ^ theirs)}; evaluate both on the same elements and split"
        )
    for name in _SAME:
        differ = getattr(first.clips, name) != getattr(other.clips, name)
        if differ.any():
            raise UserError(
                f"{other.folder}: the {name} of {first.clips.source[differ.argmax()]} is another than in "
                f"{first.folder}; evaluate both on the same elements"
            )
