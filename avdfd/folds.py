"""The balanced subject-independent protocol of MRDF: k folds of people, one clip of each person and category.

References:
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import RunConfig
from avdfd.datasets.splits import FOLD_COLUMNS
from avdfd.elements import ElementMeta
from avdfd.errors import UserError

CATEGORIES = ("RVRA", "RVFA", "FVRA", "FVFA")


class Row(NamedTuple):
    """A clip of a fold."""

    split: str
    identity: str
    source: str


def make_folds(metas: Sequence[ElementMeta], count: int, validation: float, seed: int) -> list[list[Row]]:
    """`count` folds: the people of one part are tested, a `validation` share of all others is for selection.

    Every person gives one clip of each category, drawn anew for every fold among those that show nobody of another
    split; a person without such a clip of every category is left out of the fold, so that the categories stay
    balanced. The published protocol has no validation people: it selects on the test fold.
    Raises UserError for fewer people than it takes.
    """
    clips: dict[tuple[str, str], dict[str, tuple[str, ...]]] = defaultdict(dict)
    for meta in metas:
        if meta.tier in CATEGORIES:
            clips[meta.identities[0], meta.tier][meta.source] = meta.identities
    people = sorted({person for person, _ in clips})
    people = [person for person in people if all((person, category) in clips for category in CATEGORIES)]
    if len(people) < 3 * count:
        raise UserError(
            f"{len(people)} people have clips of all of {', '.join(CATEGORIES)}; {count} folds take {3 * count} or more"
        )
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(people), count)
    folds = []
    for tested in range(count):
        others = np.concatenate([part for number, part in enumerate(parts) if number != tested])
        others = rng.permutation(others)
        held = max(1, round(validation * len(others)))
        split_of = {str(person): "test" for person in parts[tested]}
        split_of |= {str(person): "validation" for person in others[:held]}
        split_of |= {str(person): "train" for person in others[held:]}
        folds.append([row for person in split_of for row in _clips_of(person, clips, split_of, rng)])
    return folds


def _clips_of(
    person: str,
    clips: dict[tuple[str, str], dict[str, tuple[str, ...]]],
    split_of: dict[str, str],
    rng: np.random.Generator,
) -> list[Row]:
    """One clip of each category, or none at all."""
    rows = []
    for category in CATEGORIES:
        fitting = [
            source
            for source, shown in sorted(clips[person, category].items())
            if all(split_of.get(other, split_of[person]) == split_of[person] for other in shown)
        ]
        if not fitting:
            return []
        rows.append(Row(split_of[person], person, fitting[int(rng.integers(len(fitting)))]))
    return rows


def as_csv(fold: Sequence[Row]) -> str:
    """The content of a fold file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FOLD_COLUMNS)
    writer.writerows(fold)
    return text.getvalue()


def fold_configs(cfg: RunConfig, folder: Path) -> list[RunConfig]:
    """The config once for each fold file of a folder, named after the fold. Raises UserError if there are none."""
    files = sorted(folder.glob("fold_*.csv"))
    if not files:
        raise UserError(f"{folder}: no fold_*.csv here; data/preprocessing/make_splits.py makes them")
    return [
        cfg.model_copy(
            update={"name": f"{cfg.name}-{file.stem}", "data": cfg.data.model_copy(update={"splits": str(file)})}
        )
        for file in files
    ]


def summarise(reports: Sequence[Path]) -> dict[str, Any]:
    """Mean and deviation (n - 1) over folds of the main branch's metrics, from their report.json."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in reports]
    main = results[0]["main"]
    sections = {"overall": [r["overall"][main] for r in results]}
    for tier in results[0]["tiers"]:
        sections[tier] = [r["tiers"][tier][main] for r in results if tier in r["tiers"]]
    return {
        "folds": [str(path.parent) for path in reports],
        "branch": main,
        "metrics": {
            name: {
                metric: _spread([one[metric] for one in folds]) for metric in ("auc", "ap", "balanced_accuracy", "eer")
            }
            for name, folds in sections.items()
        },
    }


def as_text(summary: dict[str, Any]) -> str:
    """The summary as lines."""
    lines = [f"{len(summary['folds'])} folds, {summary['branch']} score: mean ± deviation"]
    for name, metrics in summary["metrics"].items():
        cells = "  ".join(f"{metric} {m['mean']:.3f} ± {m['deviation']:.3f}" for metric, m in metrics.items())
        lines.append(f"{name:<9} {cells}")
    return "\n".join(lines)


def _spread(values: list[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "deviation": deviation, "folds": values}
