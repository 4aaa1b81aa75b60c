"""Cross-validation: the same config once for each fold, and the mean over folds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avdfd.config import RunConfig
from avdfd.core.errors import UserError

R = TypeVar("R", bound=RunConfig)


def fold_configs(cfg: R, folder: Path) -> list[R]:
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
