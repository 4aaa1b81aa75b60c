"""Scores of elements of which something was changed: what perturbations and counterfactuals have in common.

    M elements   N clips   S runs of one system

Scores are kept in a file per run and view, so that an interrupted evaluation resumes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.text import read_json
from avdfd.core.tiers import TIERS
from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.elements.protocol import Store
from avdfd.evaluation.pooling import pool
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.inference.runs import Run
from avdfd.inference.scoring import Scores
from avdfd.splits.lists import take

Score = Callable[[Run, Store, Sequence[ElementMeta]], Scores]
"""Function that scores elements of a store with one run."""
Columns = dict[str, np.ndarray]
"""Branch of the evaluated system, or another system -> P(fake), (S, M)."""


class View(NamedTuple):
    """Elements as a store with a change shows them."""

    name: str
    """Name of the file of kept scores."""
    store: Store
    metas: Sequence[ElementMeta]
    stamp: Mapping[str, Any]
    """All that the change depends on: kept scores are reused if it is the same."""


def check_store(store: Store, option: str) -> None:
    """Raise UserError unless the audio and the video of a store's elements can be changed, as `option` asks."""
    if not isinstance(store, ElementStore):
        raise UserError(f"{store.root}: {option} needs audio and video, which a VFD folder does not have")


def sample(metas: Sequence[ElementMeta], clips: int, seed: int) -> Sequence[ElementMeta]:
    """Return the elements of `clips` clips of each tier, drawn at random; of all clips if that is 0."""
    if not clips:
        return metas
    sources, tiers = coded(metas, "source"), coded(metas, "tier")
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for name in TIERS:
        here = np.isin(tiers.codes, [code for code, value in enumerate(tiers.values) if value == name])
        names = sorted({sources.values[code] for code in np.unique(sources.codes[here])})
        chosen.update(names[place] for place in rng.permutation(len(names))[:clips])
    wanted = np.array([value in chosen for value in sources.values], bool)
    return take(metas, np.flatnonzero(wanted[sources.codes]))


def score_views(
    views: Iterable[View], systems: Mapping[str, Sequence[Run]], folder: Path, score: Score
) -> Iterable[Columns]:
    """Yield the scores of each view: of every branch of the first system, and the main branch of the others.

    Scores that `folder` has from the same weights, elements and change are reused.
    """
    weights = {run.folder: run.sha256 for runs in systems.values() for run in runs}
    metas, keys = None, ""
    for view in views:
        if view.metas is not metas:  # most views show the same elements
            metas = view.metas
            keys = hashlib.sha256("\n".join(meta.key for meta in metas).encode()).hexdigest()
        about = {**view.stamp, "elements": [str(view.store.root), view.store.version, keys]}
        columns: Columns = {}
        for name, runs in systems.items():
            kept = [
                _kept(
                    folder / run.folder.name / f"{view.name}.json",
                    {**about, "checkpoint_sha256": weights[run.folder]},
                    partial(score, run, view.store, view.metas),
                )
                for run in runs
            ]
            wanted = {name: runs[0].branches[-1]} if columns else {branch: branch for branch in runs[0].branches}
            columns |= {column: np.array([scores[branch] for scores in kept]) for column, branch in wanted.items()}
        yield columns


def pooled(metas: Sequence[ElementMeta], columns: Columns, rule: str) -> ScoredClips:
    """Pool scores (S, M) of elements to clips, after rounding logits.

    Rounding gives equal scores to clips that are equal to a model, such as silent ones: without it, the position in a
    batch changes the last digits of a logit.
    """
    rounded = {name: scipy.special.expit(np.round(scipy.special.logit(values), 4)) for name, values in columns.items()}
    return pool(metas, Scores([meta.key for meta in metas], rounded), rule)


def pooled_part(row: Mapping[str, int], columns: Columns, metas: Sequence[ElementMeta], rule: str) -> ScoredClips:
    """Pool the scores of some of the elements; `row` is the place of each key in the columns."""
    rows = [row[meta.key] for meta in metas]
    return pooled(metas, {name: values[:, rows] for name, values in columns.items()}, rule)


def _kept(path: Path, stamp: Mapping[str, Any], score: Callable[[], Scores]) -> dict[str, list[float]]:
    """Return the scores by branch, read from a file with the same stamp, or computed and kept there."""
    if path.is_file():
        kept = read_json(path)
        if kept["of"] == stamp:
            return kept["scores"]
    scores = {branch: values.tolist() for branch, values in score().branch.items()}
    write_atomic(path, json.dumps({"of": stamp, "scores": scores}).encode())
    return scores
