"""Page metrics of one system over several draws of the codecs, as `--folds` and `--test-all` write them.

    P pages   D draws   R replicates

One draw assigns one codec to each clip and is one sample of all assignments. The metrics are means over the draws, and
the intervals resample pages and draws: a replicate takes P pages and, as for training runs (`avdfd.metrics.bootstrap`),
D - 1 draws.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.core.errors import UserError
from avdfd.core.text import parse_json
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES
from avdfd.metrics import bootstrap
from avdfd.metrics.roc import Floats

METRICS = ("auc", "eer", "pair_accuracy")
POOLED = ("auc", "eer", FALSE_ALARMS, MISSES)
ENOUGH = 3
"""Draws below which an interval says little about the codecs."""


class Draw(NamedTuple):
    """Results of one draw."""

    pages: Mapping[str, Any]
    """Page -> its numbers of clips and fakes, and METRICS."""
    pooled: Mapping[str, float] = {}
    """POOLED over the clips of all pages, at thresholds of validation; files of earlier versions have none."""


def read_draws(stems: str) -> list[Draw]:
    """Read `<stem>-pages.json` of each of the stems, joined by commas: the draws of one system.

    Raises UserError for a missing or damaged file, and for draws with other pages or numbers of clips.
    """
    draws = []
    for stem in stems.split(","):
        path = Path(f"{stem}-pages.json")
        try:
            read = parse_json(path.read_text(encoding="utf-8"))
            pages = {
                page: {name: of[name] for name in ("clips", "fakes", *METRICS)} for page, of in read["pages"].items()
            }
            draws.append(
                Draw(pages, {name: float(of) for name, of in read.get("pooled", {}).items() if name in POOLED})
            )
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; --folds of pretrain.py or baseline.py writes it, with --name={Path(stem).name}"
            ) from None
        except (KeyError, TypeError, AttributeError, ValueError):
            raise UserError(f"{path}: damaged, or not written by --folds or --test-all; make it again") from None
        _check_same(path, draws[0].pages, draws[-1].pages)
    return draws


def pool_draws(draws: Sequence[Draw], *, replicates: int, seed: int) -> dict[str, Any]:
    """Return the metrics of a system over its draws.

    `pooled` has the means over the draws of POOLED, as far as all draws have them, and the values of each draw;
    `pages` has each page's means over the draws, with the values of all draws; `mean` the means over pages, with 95 %
    intervals over pages and draws, the value of each draw, and their standard deviation (n - 1; None for one draw);
    `worst` the page with the lowest mean AUC.
    """
    pages = {
        page: {
            "clips": of["clips"],
            "fakes": of["fakes"],
            **{name: _mean([draw.pages[page][name] for draw in draws]) for name in METRICS},
            "auc_draws": [draw.pages[page]["auc"] for draw in draws],
        }
        for page, of in draws[0].pages.items()
    }
    means = {}
    for name in METRICS:
        table = np.array([[of[name] for of in draw.pages.values() if of[name] is not None] for draw in draws])
        means[name] = _over_pages(table, replicates, seed) if table.size else None
    worst = min(pages, key=lambda page: pages[page]["auc"])
    pooled = {
        name: {"value": float(np.mean(values)), "draws": values}
        for name in POOLED
        if len(values := [draw.pooled[name] for draw in draws if name in draw.pooled]) == len(draws)
    }
    return {"draws": len(draws), "pooled": pooled, "pages": pages, "mean": means, "worst": worst}


def _check_same(path: Path, first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raise UserError unless both draws have the same pages, of as many clips."""
    for page in sorted({*first, *other}):
        sizes = [of.get(page) and (of[page]["clips"], of[page]["fakes"]) for of in (first, other)]
        if sizes[0] != sizes[1]:
            counts = [size and size[0] for size in sizes]
            raise UserError(
                f"{path}: page {page} has {counts[1]} clips, in the first draw {counts[0]}; draws of one system need "
                "the same folds and elements"
            )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _over_pages(table: Floats, replicates: int, seed: int) -> dict[str, Any]:
    """Return the mean of a metric (D, P) over draws and pages."""
    count, pages = table.shape
    of_draw = table.mean(axis=1)
    chosen = np.random.default_rng(seed).integers(pages, size=(replicates, pages))
    weights = bootstrap.run_weightings(count, replicates, (seed, 1))  # (R, D)
    samples = (table[:, chosen].mean(axis=2).T * weights).sum(axis=1)
    return {
        "value": float(table.mean()),
        "interval": bootstrap.interval(samples) if replicates else None,
        "draws": of_draw.tolist(),
        "deviation": float(of_draw.std(ddof=1)) if count > 1 else None,
        "pages": pages,
    }
