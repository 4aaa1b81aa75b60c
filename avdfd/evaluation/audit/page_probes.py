"""Shortcut probes under cross-validation by page: what a single cue reaches on pages it was not fitted on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from avdfd.config import RunConfig
from avdfd.core.errors import UserError
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementMeta
from avdfd.elements.protocol import Store
from avdfd.evaluation.audit import files
from avdfd.evaluation.audit.probes import probe_auc
from avdfd.evaluation.pages import page_metrics
from avdfd.evaluation.pooling import pool
from avdfd.evaluation.scored_clips import ScoredClips, join_clips
from avdfd.inference.scoring import Scores

ALL = "all"
"""The probe that is given all cues at once."""

Fold = tuple[Sequence[ElementMeta], Sequence[ElementMeta]]
"""Training and test elements."""


def fold_elements(configs: Sequence[RunConfig], store: Store) -> list[Fold]:
    """Return the training and test elements of the folds that configs are of."""
    return [(split_metas(cfg, store, "train"), split_metas(cfg, store, "test")) for cfg in configs]


def check_sources(folds: Sequence[Fold], root: Path) -> None:
    """Raise UserError, before any training, if a source file of the folds is not under `root`."""
    files.check(root, _sources(folds))


def probe_folds(folds: Sequence[Fold], root: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return `probe_pages` with the cues of the source files under `root`; and the files without readable audio, which
    are left out, with the reason.

    Raises UserError if no file can be read.
    """
    cues, unreadable = files.measure_all(root, _sources(folds))
    if not cues:
        raise UserError(f"{root}: no file has readable audio; leave --probes out")
    readable = [
        ([m for m in train if m.source in cues], [m for m in test if m.source in cues]) for train, test in folds
    ]
    return probe_pages(cues, readable), unreadable


def _sources(folds: Sequence[Fold]) -> list[str]:
    return sorted({meta.source for fold in folds for metas in fold for meta in metas})


def probe_pages(
    cues: Mapping[str, Mapping[str, Any]], folds: Sequence[Fold], *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return the page metrics of a classifier of each cue, and of all cues, fitted on the training clips of each fold.

    `cues` holds the cues of each source (`avdfd.evaluation.audit.files`), of which the numbers are used. `within` is,
    for each page, the AUC that the cue reaches on other utterances of the page it was fitted on: it finds a cue that
    one page alone has, although no training fold could teach it.
    """
    names = sorted(name for name, value in next(iter(cues.values())).items() if isinstance(value, float))
    tested = {meta.source: meta for _, test in folds for meta in test}
    result = {}
    for name in [*names, ALL]:
        chosen = names if name == ALL else [name]
        clips = join_clips([_classify(fold, cues, chosen) for fold in folds])
        metrics = page_metrics(clips, ALL, replicates=replicates, seed=seed)
        assert metrics is not None, "folds are drawn by page"
        result[name] = metrics
        if name != ALL:
            result[name]["within"] = _within_pages([*tested.values()], {s: cues[s][name] for s in tested})
    return result


def _classify(fold: Fold, cues: Mapping[str, Mapping[str, Any]], chosen: Sequence[str]) -> ScoredClips:
    """Return the test clips of a fold, scored by a logistic regression of degree 2 on the chosen cues."""

    def features(metas: Sequence[ElementMeta]) -> np.ndarray:
        return np.array([[cues[meta.source][cue] for cue in chosen] for meta in metas])

    train, test = fold
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), LogisticRegression(max_iter=1000)
    )
    model.fit(features(train), [meta.label for meta in train])
    return pool(test, Scores([meta.key for meta in test], {ALL: model.decision_function(features(test))}))


def _within_pages(metas: Sequence[ElementMeta], cue: Mapping[str, float]) -> dict[str, float]:
    """Return, by page, the AUC of a cue on utterances of the page it was not fitted on; small pages are left out."""
    by_page: dict[str, list[ElementMeta]] = defaultdict(list)
    for meta in metas:
        by_page[meta.page].append(meta)
    found = {}
    for page, members in sorted(by_page.items()):
        try:
            values = [cue[meta.source] for meta in members]
            found[page] = probe_auc(values, [meta.label for meta in members], [meta.base for meta in members])
        except ValueError:  # one class, or one utterance
            continue
    return found
