"""What a report says of the systems it judges, and what it may take from the report of another split."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avdfd.core.files import sha256_of
from avdfd.elements import ElementMeta
from avdfd.evaluation import protocol
from avdfd.inference.scoring import Run, trained_under
from avdfd.training.run_folder import BEST


def folder_of(first: Path, runs: int, name: str) -> Path:
    """Where an evaluation of so many runs of a system is, of which this is the first; `name` is a split, or --name."""
    return first / "eval" / (f"{name}-{runs}-seeds" if runs > 1 else name)


def describe(
    runs: Sequence[Run], elements: str, store: Sequence[ElementMeta], metas: Sequence[ElementMeta]
) -> dict[str, Any]:
    """A system for report.json: its kind, its runs and weights, and by which protocol it is judged.

    `metas` are judged, of all those of the store `elements`.
    """
    first = runs[0]
    own = Path(elements).resolve() == Path(first.config.data.elements).resolve()
    return {
        "kind": first.config.kind,
        "runs": [
            {"folder": str(run.folder), "seed": run.config.seed, "checkpoint_sha256": sha256_of(run.folder / BEST)}
            for run in runs
        ],
        "protocol": protocol.describe(
            trained_under(first), sees_fakes=first.sees_fakes, own=store if own else None, judged=metas
        ),
    }


def system_of(branch: str, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The system that a column is of: another one by its name, or else the report's own."""
    return about["against"].get(branch, about)


def fitted_on_validation(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the validation report at `path` has fitted, for those columns of this one that are of the same weights.

    Nothing if there is no such report, if its clips were pooled otherwise, or are not those of the run's own store.
    """
    if not path.is_file():
        return {}
    former = json.loads(path.read_text(encoding="utf-8"))
    if former.get("pooling") != about["pooling"] or former["elements"] != about["config"]["data"]["elements"]:
        return {}

    def weights(report: Mapping[str, Any], branch: str) -> list[str]:
        return [run["checkpoint_sha256"] for run in system_of(branch, report)["runs"]]

    return {b: values for b, values in former["fitted"].items() if weights(former, b) == weights(about, b)}
