"""Provenance: what report.json says about the evaluated systems, their weights and their protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avdfd.elements import ElementMeta
from avdfd.evaluation import protocol
from avdfd.inference.runs import Run, trained_under


def describe(
    runs: Sequence[Run], elements: str, store: Sequence[ElementMeta], metas: Sequence[ElementMeta]
) -> dict[str, Any]:
    """Return what report.json says about a system: its kind, its runs with their weights, and its protocol.

    `metas` are the tested elements, `store` all elements of the store at `elements`.
    """
    first = runs[0]
    own = Path(elements).resolve() == Path(first.config.data.elements).resolve()
    return {
        "kind": first.config.kind,
        "runs": [{"folder": str(run.folder), "seed": run.config.seed, "checkpoint_sha256": run.sha256} for run in runs],
        "protocol": protocol.describe(
            trained_under(first),
            trains_on_fakes=first.trains_on_fakes,
            published=first.published,
            own=store if own else None,
            tested=metas,
        ),
    }
