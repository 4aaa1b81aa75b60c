"""Provenance: what report.json says about the evaluated systems, their weights and their protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avdfd.core.files import BEST, sha256_of
from avdfd.elements import ElementMeta
from avdfd.evaluation import protocol
from avdfd.inference.scoring import Run, trained_under


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
