"""Scores and metrics of perturbed clips.

M elements   N clips   S runs of one system
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.elements.protocol import Store
from avdfd.evaluation.changed import Columns, Score, View, check_store, pooled, pooled_part, score_views
from avdfd.evaluation.grouped_metrics import tier_parts
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.evaluation.robustness import PERTURBATIONS, SEVERITIES
from avdfd.evaluation.robustness.store import PerturbedStore
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.inference.runs import Run
from avdfd.metrics import roc
from avdfd.metrics.bootstrap import auc
from avdfd.splits.lists import take

FORM = 2
"""Version of the kept scores; to be raised if a perturbation changes at the same level."""
NOT_JOINED = (
    "too few windows have the audio beyond them: it needs windows of a clip that overlap or adjoin; preprocess with "
    "media.hop=1.536"
)


class Case(NamedTuple):
    """A perturbation and its severity; without a name, the unperturbed clips."""

    name: str | None = None
    severity: int = 0

    @property
    def level(self) -> float | None:
        return PERTURBATIONS[self.name].levels[self.severity - 1] if self.name else None

    @property
    def file(self) -> str:
        return f"{self.name}-{self.severity}" if self.name else "clean"


class Scored(NamedTuple):
    """Scores of a case; a perturbation that moves the audio takes the elements that have it at its highest level."""

    metas: Sequence[ElementMeta]
    columns: Columns


def score_suite(
    names: Sequence[str],
    systems: Mapping[str, Sequence[Run]],
    store: Store,
    metas: Sequence[ElementMeta],
    folder: Path,
    score: Score,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> dict[Case, Scored]:
    """Score elements with all systems, unperturbed and under every severity of the named perturbations.

    The result has every branch of the first system and the main branch of the others, and lacks the perturbations that
    move the audio if too few elements have the audio beyond them. Scores in `folder` are reused. `progress` may wrap
    the cases in a progress bar. Raises UserError for a store that cannot be perturbed.
    """
    check_store(store, "--robustness")
    assert isinstance(store, ElementStore), "as checked"
    joined = JoinedAudio(store, metas) if any(PERTURBATIONS[name].moved for name in names) else None
    parts = {name: _taking_part(metas, name, joined) for name in names}
    cases = [Case(), *(Case(name, severity) for name in names if parts[name] for severity in SEVERITIES)]

    def view(case: Case) -> View:
        perturbed = PerturbedStore(store, case.name, case.severity, joined) if case.name else store
        some = parts[case.name] if case.name else metas
        assert some is not None, "cases are of perturbations that some elements have"
        return View(case.file, perturbed, some, {"form": FORM, "level": case.level})

    views = {case: view(case) for case in cases}
    scores = score_views((views[case] for case in progress(cases)), systems, folder, score)
    return {case: Scored(views[case].metas, columns) for case, columns in zip(cases, scores, strict=True)}


def _taking_part(metas: Sequence[ElementMeta], name: str, joined: JoinedAudio | None) -> Sequence[ElementMeta] | None:
    """Return the elements that can be perturbed at every level; None unless there are real and fake ones."""
    how = PERTURBATIONS[name]
    if not how.moved or joined is None:
        return metas
    some = take(metas, np.flatnonzero(joined.covers(round(max(how.levels) * how.moved))))
    codes, labels = coded(some, "label")
    return some if len({labels[code] for code in np.unique(codes)}) == 2 else None


def summarise(
    names: Sequence[str], scored: Mapping[Case, Scored], rule: str, *, replicates: int, seed: int
) -> dict[str, Any]:
    """Return the `robustness` of report.json: for each perturbation and severity, and each branch or system,

    `auc`    AUC of fakes against real clips, both perturbed, overall with its interval and by `tiers`
    `reals`  AUC of perturbed real clips against the same clips unperturbed: 0.5 if the perturbation has no effect,
             above 0.5 if it makes real clips look fake

    Windows are pooled to clips by `rule`. Metrics of several runs are means. Intervals resample identities. A
    perturbation that takes part of the windows states their number; `left_out` has those that take none, with the
    reason.
    """
    all_metas, columns = scored[Case()]
    clean = pooled(all_metas, columns, rule)
    row = {meta.key: place for place, meta in enumerate(all_metas)}

    def figures(case: Case) -> dict[str, Any]:
        metas, values = scored[case]
        clips = pooled(metas, values, rule)
        same = clean if len(metas) == len(all_metas) else pooled_part(row, columns, metas, rule)
        return {branch: _branch(clips, same, branch, replicates, seed) for branch in values}

    def section(name: str) -> dict[str, Any]:
        how, some = PERTURBATIONS[name], scored[Case(name, 1)].metas
        return {
            "title": how.title,
            "unit": how.unit,
            "levels": list(how.levels),
            "severities": [figures(Case(name, severity)) for severity in SEVERITIES],
            **({"windows": len(some)} if len(some) < len(all_metas) else {}),
        }

    there = [name for name in names if Case(name, 1) in scored]
    return {
        "clips": len(clean),
        "windows": len(all_metas),
        "clean": figures(Case()),
        "perturbations": {name: section(name) for name in there},
        "left_out": {name: NOT_JOINED for name in names if name not in there},
    }


def _branch(clips: ScoredClips, clean: ScoredClips, branch: str, replicates: int, seed: int) -> dict[str, Any]:
    reals, unperturbed = clips.where(clips.label == 0), clean.where(clean.label == 0)
    both = np.concatenate([reals.scores[branch], unperturbed.scores[branch]], axis=1)
    changed = np.repeat([1, 0], len(reals))
    identities = np.tile(reals.identity, 2)
    overall = auc(clips.label, clips.scores[branch], clips.identity, replicates, seed)
    taken_for_fakes = auc(changed, both, identities, replicates, seed)
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
