"""Scores and metrics of perturbed clips.

    M elements   N clips   S runs of one system

Scores are kept in a file per run, perturbation and severity, so that an interrupted suite resumes.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of, write_atomic
from avdfd.core.text import read_json
from avdfd.core.tiers import TIERS
from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.elements.protocol import Store
from avdfd.evaluation.grouped_metrics import tier_parts
from avdfd.evaluation.pooling import pool
from avdfd.evaluation.robustness import PERTURBATIONS, SEVERITIES
from avdfd.evaluation.robustness.store import PerturbedStore
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.inference.scoring import Run, Scores
from avdfd.metrics import bootstrap, roc
from avdfd.splits.lists import take

FORM = 1
"""Version of the kept scores; to be raised if a perturbation changes at the same level."""

Score = Callable[[Run, Store], Scores]
Columns = dict[str, np.ndarray]
"""Branch of the evaluated system, or another system -> P(fake), (S, M)."""


class Case(NamedTuple):
    """A perturbation and its severity; without a name, the unperturbed clips."""

    name: str | None = None
    severity: int = 0

    @property
    def level(self) -> float | None:
        return PERTURBATIONS[self.name].levels[self.severity - 1] if self.name else None

    @property
    def file(self) -> str:
        return f"{self.name}-{self.severity}.json" if self.name else "clean.json"


def sample(metas: Sequence[ElementMeta], clips: int, seed: int) -> Sequence[ElementMeta]:
    """Return the elements of `clips` clips of each tier, drawn at random; of all clips if that is 0."""
    if not clips:
        return metas
    sources, tiers = coded(metas, "source"), coded(metas, "tier")
    rng, chosen = np.random.default_rng(seed), []
    for name in TIERS:
        here = np.isin(tiers.codes, [code for code, value in enumerate(tiers.values) if value == name])
        names = sorted({sources.values[code] for code in np.unique(sources.codes[here])})
        chosen += [names[place] for place in rng.permutation(len(names))[:clips]]
    wanted = np.array([value in set(chosen) for value in sources.values], bool)
    return take(metas, np.flatnonzero(wanted[sources.codes]))


def score_suite(
    names: Sequence[str],
    systems: Mapping[str, Sequence[Run]],
    store: Store,
    metas: Sequence[ElementMeta],
    folder: Path,
    score: Score,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> dict[Case, Columns]:
    """Score elements with all systems, unperturbed and under every severity of the named perturbations.

    The result has every branch of the first system and the main branch of the others. `score` scores the elements
    `metas` of a store with one run; scores that `folder` has from the same weights, elements and level are reused.
    `progress` may wrap the cases in a progress bar. Raises UserError for a store that cannot be perturbed.
    """
    if not isinstance(store, ElementStore):
        raise UserError(f"{store.root}: --robustness needs audio and video, which a VFD folder does not have")
    elements = [
        str(store.root),
        store.version,
        hashlib.sha256("\n".join(meta.key for meta in metas).encode()).hexdigest(),
    ]
    stamps = {
        run.folder: {"form": FORM, "checkpoint_sha256": sha256_of(run.folder / BEST), "elements": elements}
        for runs in systems.values()
        for run in runs
    }

    def columns_of(case: Case) -> Columns:
        perturbed = PerturbedStore(store, case.name, case.severity) if case.name else store
        columns: Columns = {}
        for name, runs in systems.items():
            paths = [folder / run.folder.name / case.file for run in runs]
            kept = [
                _kept(path, stamps[run.folder] | {"level": case.level}, partial(score, run, perturbed))
                for path, run in zip(paths, runs, strict=True)
            ]
            wanted = {name: runs[0].branches[-1]} if columns else {branch: branch for branch in runs[0].branches}
            columns |= {column: np.array([scores[branch] for scores in kept]) for column, branch in wanted.items()}
        return columns

    cases = [Case(), *(Case(name, severity) for name in names for severity in SEVERITIES)]
    return {case: columns_of(case) for case in progress(cases)}


def summarise(
    scored: Mapping[Case, Columns], metas: Sequence[ElementMeta], rule: str, *, replicates: int, seed: int
) -> dict[str, Any]:
    """Return the `robustness` of report.json: for each perturbation and severity, and each branch or system,

    `auc`    AUC of fakes against real clips, both perturbed, overall with its interval and by `tiers`
    `reals`  AUC of perturbed real clips against the same clips unperturbed: 0.5 if the perturbation has no effect,
             above 0.5 if it makes real clips look fake

    Windows are pooled to clips by `rule`. Metrics of several runs are means. Intervals resample identities.
    """
    keys = [meta.key for meta in metas]

    def pooled(columns: Columns) -> ScoredClips:
        return pool(metas, Scores(keys, {branch: _steady(values) for branch, values in columns.items()}), rule)

    clean = pooled(scored[Case()])

    def figures(columns: Columns) -> dict[str, Any]:
        clips = pooled(columns)
        return {branch: _branch(clips, clean, branch, replicates, seed) for branch in columns}

    return {
        "clips": len(clean),
        "windows": len(metas),
        "clean": figures(scored[Case()]),
        "perturbations": {
            name: {
                "title": how.title,
                "unit": how.unit,
                "levels": list(how.levels),
                "severities": [figures(scored[Case(name, severity)]) for severity in SEVERITIES],
            }
            for name, how in PERTURBATIONS.items()
            if Case(name, 1) in scored
        },
    }


def _steady(scores: np.ndarray) -> np.ndarray:
    """Round logits, so that clips that are equal to a model, such as silent ones, get equal scores.

    Without it, the position in a batch changes the last digits of a logit.
    """
    return expit(np.round(logit(scores), 4))


def _branch(clips: ScoredClips, clean: ScoredClips, branch: str, replicates: int, seed: int) -> dict[str, Any]:
    reals, unperturbed = clips.where(clips.label == 0), clean.where(clean.label == 0)
    both = np.concatenate([reals.scores[branch], unperturbed.scores[branch]], axis=1)
    changed = np.repeat([1, 0], len(reals))
    identities = np.tile(reals.identity, 2)
    overall = _auc(clips.label, clips.scores[branch], clips.identity, replicates, seed)
    taken_for_fakes = _auc(changed, both, identities, replicates, seed)
    return {
        "auc": overall["auc"],
        "auc_interval": overall["auc_interval"],
        "reals": taken_for_fakes["auc"],
        "reals_interval": taken_for_fakes["auc_interval"],
        "tiers": {
            name: float(np.mean([roc.auc(part.label, run) for run in part.scores[branch]]))
            for name, part in tier_parts(clips)
        },
    }


def _auc(labels: np.ndarray, scores: np.ndarray, identities: np.ndarray, replicates: int, seed: int) -> dict[str, Any]:
    """Return the AUC of the scores (S, N) of runs, with its interval."""

    def area(weights: np.ndarray | None, run: int) -> dict[str, Any]:
        return {"auc": roc.area(roc.roc(labels, scores[run], weights))}

    return bootstrap.measure(area, labels, identities, runs=len(scores), replicates=replicates, seed=seed)


def _kept(path: Path, stamp: Mapping[str, Any], score: Callable[[], Scores]) -> dict[str, list[float]]:
    """Return the scores by branch, read from a file with the same stamp, or computed and kept there."""
    if path.is_file():
        kept = read_json(path)
        if kept["of"] == stamp:
            return kept["scores"]
    scores = {branch: values.tolist() for branch, values in score().branch.items()}
    write_atomic(path, json.dumps({"of": stamp, "scores": scores}).encode())
    return scores
