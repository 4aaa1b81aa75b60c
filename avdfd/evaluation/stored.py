"""Evaluations on disk, as evaluate.py writes them: their folders, how they are read, and what validation has fitted.

This module imports no model, so that compare.py starts fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.core.text import parse_json, read_csv, read_json
from avdfd.evaluation.scored_clips import ScoredClips, from_csv, score_columns
from avdfd.metrics.roc import Floats
from avdfd.metrics.selective import DEFAULT, Band, Decision

OF_FILES = "file"
"""Rule of pooling in a report on scores from a file: there is one score per clip, and nothing to pool."""


def folder_of(first: Path, runs: int, name: str) -> Path:
    """Return the folder of an evaluation of a system, given its first run and the number of runs.

    `name` is a split, or evaluate.py's --name.
    """
    return first / "eval" / (f"{name}-{runs}-seeds" if runs > 1 else name)


@dataclass(frozen=True)
class StoredEvaluation:
    """The report.json and scores.csv of one system."""

    name: str
    folder: Path
    report: dict[str, Any]
    clips: ScoredClips
    """Sorted by name, with the score of the main branch under the system's name."""


def read(names: str, split: str, folder: str | None = None) -> StoredEvaluation:
    """Read the evaluation of a run, or of runs joined by commas, on a split; `folder` is evaluate.py's --name.

    Raises UserError, naming the missing command, if there is no evaluation or the run was trained further since.
    """
    runs = [Path(name) for name in names.split(",")]
    place = folder_of(runs[0], len(runs), folder or split)
    command = f"bash evaluate.sh --run {names} --split {split}" + (f" --name {folder}" if folder else "")
    for run in runs:
        if not run.is_dir():
            raise UserError(f"{run}: no such run folder; correct the name, or train it first")
    try:
        report = parse_json((place / "report.json").read_text(encoding="utf-8"))
        table = read_csv(place / "scores.csv", (place / "scores.csv").read_text(encoding="utf-8-sig"))
        rows = sorted((row for _, row in table.rows), key=lambda row: row["clip"])
        main, weights = report["main"], [run["checkpoint_sha256"] for run in report["runs"]]
        clips = from_csv(rows, main, len(weights), name=runs[0].name)
    except FileNotFoundError:
        raise UserError(f"{names}: not evaluated on {folder or split}; run {command}") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{place}: damaged, or written by another version; run {command} again") from None
    if report["split"] != split:
        raise UserError(f"{place}: holds the split '{report['split']}'; pass --split {report['split']}")
    # Scores from a file are in one folder, which has no weights, also if they are of several seeds.
    if any((run / BEST).is_file() and sha256_of(run / BEST) != old for run, old in zip(runs, weights, strict=False)):
        raise UserError(f"{names}: the weights have changed since the evaluation; run {command} again")
    return StoredEvaluation(runs[0].name, place, report, clips)


def scores_of_windows(one: StoredEvaluation, windows: ScoredClips) -> Floats | None:
    """Return the scores (S, N) of windows from the windows.csv of an evaluation; None if it lacks it, or one of them.

    Raises UserError for a damaged file.
    """
    path = one.folder / "windows.csv"
    if not path.is_file() or windows.times is None:
        return None
    names = score_columns(one.report["main"], len(one.report["runs"]))
    try:
        table = [row for _, row in read_csv(path).rows]
        rows = {(row["clip"], float(row["start"])): [float(row[name]) for name in names] for row in table}
    except (KeyError, ValueError):
        raise UserError(f"{path}: damaged, or written by another version; evaluate the run again") from None
    keys = [*zip(windows.source.tolist(), windows.times[:, 0].tolist(), strict=True)]
    return np.array([rows[key] for key in keys]).T if rows.keys() >= set(keys) else None


def decisions_of(run: Path, sha256: str) -> dict[str, Decision]:
    """Return how the branches of a run decide, from the validation report of its weights (`sha256`); empty without one.

    Reports of earlier versions have no band.
    """
    path = folder_of(run, 1, "validation") / "report.json"
    if not path.is_file():
        return {}
    report = read_json(path)
    try:
        branches, found = report["fitted"].items(), dict[str, Decision]()
        if report["runs"][0]["checkpoint_sha256"] != sha256:
            return {}
        for branch, fitted in branches:
            if fitted is not None and "bands" in fitted:
                low, high = fitted["bands"][f"{DEFAULT:g}"][0]
                band, temperature = Band(float(low), float(high)), fitted["temperature"][0]
                found[branch] = Decision(band, temperature, str(report["pooling"]["windows"]), calibrated=True)
        return found
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: damaged, or written by another version; evaluate the run again") from None


def system_of(branch: str, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the system that a column of the table belongs to: a system of `against`, or the evaluated one."""
    return about["against"].get(branch, about)


def fitted_on_validation(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the validation report at `path` has fitted, for the columns that have the same weights as there.

    Empty if there is no such report, if it pooled windows by another rule, or if it is of another element store.
    """
    if not path.is_file():
        return {}
    former = read_json(path)
    if former.get("pooling") != about["pooling"] or former["elements"] != about["config"]["data"]["elements"]:
        return {}

    def weights(report: Mapping[str, Any], branch: str) -> list[tuple[Any, ...]]:
        keys = ("checkpoint_sha256", "seed", "scale", "higher_is_real")  # the latter two of scores from a file
        return [tuple(run.get(key) for key in keys) for run in system_of(branch, report)["runs"]]

    return {b: values for b, values in former["fitted"].items() if weights(former, b) == weights(about, b)}
