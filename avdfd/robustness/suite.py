"""Scores and figures of perturbed clips.

    M elements   N clips   S runs of one system

What was scored is kept, a file for each run, perturbation and severity, so that an interrupted suite goes on.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd import metrics
from avdfd.datasets.splits import take
from avdfd.datasets.stores import Store
from avdfd.datasets.tiers import RVRA, TIERS
from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.errors import UserError
from avdfd.files import sha256_of, write_atomic
from avdfd.robustness import PERTURBATIONS, SEVERITIES
from avdfd.robustness.store import PerturbedStore
from avdfd.scoring import Run, Scores
from avdfd.tracking import BEST

FORM = 1
"""Of what is kept; to be raised when a perturbation does something else at the same level."""

Score = Callable[[Run, Store], Scores]
Columns = dict[str, np.ndarray]
"""Branch of our system, or another system -> P(fake), (S, M)."""


class Case(NamedTuple):
    """A perturbation and its severity; without one, the clips as they are."""

    name: str | None = None
    severity: int = 0

    @property
    def level(self) -> float | None:
        return PERTURBATIONS[self.name].levels[self.severity - 1] if self.name else None

    @property
    def file(self) -> str:
        return f"{self.name}-{self.severity}.json" if self.name else "clean.json"


def sample(metas: Sequence[ElementMeta], clips: int, seed: int) -> Sequence[ElementMeta]:
    """The elements of `clips` clips of each tier, drawn by chance; of all clips if that is 0."""
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
    """What all systems say about elements as they are and under every severity of the named perturbations.

    Every branch of the first system, and the main branch of the others. `score` scores the elements `metas` of a store
    with one run; it is not asked for what is kept in `folder` from the same weights, elements and level. `progress` may
    wrap the cases in a progress bar. Raises UserError for a store that cannot be perturbed.
    """
    if not isinstance(store, ElementStore):
        raise UserError(f"{store.root}: --robustness needs sound and video, which a VFD folder does not have")
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


def judge(
    scored: Mapping[Case, Columns], metas: Sequence[ElementMeta], *, replicates: int, seed: int
) -> dict[str, Any]:
    """The `robustness` of report.json: for each perturbation and severity, and each branch or system,

    `auc`    fakes against reals, both perturbed, overall with its interval and by `tiers`
    `reals`  perturbed reals against the same reals as they are: 0.5 where it does not matter, above where the
             perturbation is taken for a fake

    The clip is the unit, with the mean of its windows; of several runs, figures are means. Intervals are over people.
    """
    clips = _Clips.of(metas)
    clean = {column: clips.mean(values) for column, values in scored[Case()].items()}

    def figures(columns: Columns) -> dict[str, Any]:
        return {
            column: _branch(clips, clips.mean(values), clean[column], replicates, seed)
            for column, values in columns.items()
        }

    return {
        "clips": len(clips.label),
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


class _Clips(NamedTuple):
    member: np.ndarray
    """(M,) number of each element's clip."""
    label: np.ndarray
    """(N,) 1 = fake."""
    tier: np.ndarray
    identity: np.ndarray

    @classmethod
    def of(cls, metas: Sequence[ElementMeta]) -> "_Clips":
        _, first, member = np.unique(coded(metas, "source").codes, return_index=True, return_inverse=True)
        of_clip = [metas[int(position)] for position in first]
        return cls(
            member,
            np.array([meta.label for meta in of_clip]),
            np.array([meta.tier for meta in of_clip]),
            np.array([meta.identities[0] for meta in of_clip]),
        )

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Of windows (S, M) -> of clips (S, N)."""
        return np.stack([np.bincount(self.member, run) for run in values]) / np.bincount(self.member)


def _branch(clips: _Clips, scores: np.ndarray, clean: np.ndarray, replicates: int, seed: int) -> dict[str, Any]:
    real = clips.label == 0
    both = np.concatenate([scores[:, real], clean[:, real]], axis=1)
    changed = np.repeat([1, 0], real.sum())
    people = np.tile(clips.identity[real], 2)
    fakes = {name: real | (clips.tier == name) for name in TIERS if name != RVRA.name and (clips.tier == name).any()}
    return {
        **_auc("auc", clips.label, scores, clips.identity, replicates, seed),
        **_auc("reals", changed, both, people, replicates, seed),
        "tiers": {
            name: float(np.mean([metrics.auc(clips.label[chosen], run[chosen]) for run in scores]))
            for name, chosen in fakes.items()
        },
    }


def _auc(
    name: str, labels: np.ndarray, scores: np.ndarray, identities: np.ndarray, replicates: int, seed: int
) -> dict[str, Any]:
    """Mean AUC of runs (S, N) with the interval of the first: one run is the common case."""
    values = [metrics.auc(labels, run) for run in scores]
    measured = metrics.measure(labels, scores[0], list(identities), thresholds={}, replicates=replicates, seed=seed)
    return {name: float(np.mean(values)), f"{name}_interval": measured["auc_interval"]}


def _kept(path: Path, stamp: Mapping[str, Any], score: Callable[[], Scores]) -> dict[str, list[float]]:
    """Scores by branch, from a file if that has them for the same stamp; else they are made, and kept there."""
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["of"] == stamp:
            return kept["scores"]
    scores = {branch: values.tolist() for branch, values in score().branch.items()}
    write_atomic(path, json.dumps({"of": stamp, "scores": scores}).encode())
    return scores
