"""Scores of counterfactuals, and their metrics.

M elements   N clips   S runs of one system
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.datasets.loaders import Reads
from avdfd.elements import ElementMeta
from avdfd.elements.protocol import Store
from avdfd.evaluation.changed import Columns, Score, pooled, pooled_part, score_views
from avdfd.evaluation.counterfactuals.case import REPLACED, SHIFTS, Case
from avdfd.evaluation.counterfactuals.cases import Cases, cases_of, view_of
from avdfd.evaluation.counterfactuals.rule import SHUFFLED_TIER, verdict
from avdfd.evaluation.grouped_metrics import tier_parts
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.inference.runs import Run
from avdfd.metrics.bootstrap import auc
from avdfd.metrics.paired import paired_auc

_BRANCHES = ("consistency", "visual")
"""Branches of this method that are meant to use the relation. A baseline may have a `visual` one of the video alone."""

Part = tuple[ScoredClips, ScoredClips]
"""Real clips with their own streams, and the same clips changed."""


def measure(
    systems: Mapping[str, Sequence[Run]],
    store: Store,
    metas: Sequence[ElementMeta],
    own: Columns,
    folder: Path,
    score: Score,
    rule: str,
    *,
    replicates: int,
    seed: int,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> dict[str, Any]:
    """Score all counterfactuals of these elements and return the `counterfactuals` of report.json.

    `own` has the scores of the elements with their own streams: those of every branch of the first system, and of the
    main branch of the others. In the result, `audio_only` names the scores of systems that take no video, and
    `one_image` those of systems that take a single frame. Scores in `folder` are reused. `progress` may wrap the cases
    in a progress bar.
    """
    reads = [run.inputs.reads for runs in systems.values() for run in runs]
    found = cases_of(store, metas, reads, seed)
    views = (view_of(case, store, found.joined) for case in progress(found.cases))
    scored = [*score_views(views, systems, folder, score)]
    ours, *others = systems.values()
    branches = ours[0].branches
    named = [branch for branch in _BRANCHES if branch in branches] if ours[0].config.kind == "train" else []
    taken = dict.fromkeys(branches, ours[0].inputs.reads)
    taken |= {runs[0].folder.name: runs[0].inputs.reads for runs in others}
    limits = {
        "audio_only": [name for name, fields in taken.items() if not fields.video],
        "one_image": [name for name, fields in taken.items() if _is_image(fields)],
    }
    result = summarise(found, scored, metas, own, rule, limits, replicates=replicates, seed=seed)
    return {"branch": (named or [branches[-1]])[0], "whole": store.whole, **result}


def summarise(
    found: Cases,
    scored: Sequence[Columns],
    metas: Sequence[ElementMeta],
    own: Columns,
    rule: str,
    limits: Mapping[str, Sequence[str]] | None = None,
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return, for each branch or system:

    `stranger`  AUC of real clips with another identity's audio against the same clips with their own
    `shifts`    the same for real clips whose audio is `late`, `early`, or `both` together
    `replaced`  AUC of fakes against real clips, overall and by tier, with their own streams and with a stream replaced
    `shuffled_loss` the paired difference in AUC on FVRA: own frames minus shuffled ones
    `verdicts`  whether it uses the relation (`avdfd.evaluation.counterfactuals.rule`)

    and `left_out`, the counterfactuals that these elements do not allow, with the reason; `limits` says for which of
    them the verdict is limited, as `measure` does. Windows are pooled to clips by `rule`. Metrics of several runs are
    means, and intervals include them; they resample identities.
    """
    row = {meta.key: place for place, meta in enumerate(metas)}
    cut = {(case.kind, case.number): columns for case, columns in zip(found.cases, scored, strict=True) if case.own}

    def part(case: Case, columns: Columns) -> Part:
        ours = cut.get((case.kind, case.number))
        unchanged = pooled_part(row, own, case.metas, rule) if ours is None else pooled(case.metas, ours, rule)
        return unchanged, pooled(case.metas, columns, rule)

    of_kind: dict[str, list[tuple[Case, Columns]]] = {}
    for case, columns in zip(found.cases, scored, strict=True):
        if not case.own:
            of_kind.setdefault(case.kind, []).append((case, columns))
    clean = pooled(metas, own, rule)
    there = {kind: of_kind[kind][0] for kind in REPLACED if kind in of_kind}
    replaced = {"own": clean, **{kind: pooled(case.metas, columns, rule) for kind, (case, columns) in there.items()}}
    pairs = [part(*one) for one in of_kind.get("stranger", [])]
    shifts = {case.number: part(case, columns) for case, columns in of_kind.get("shift", [])}
    result = {
        "clips": len(clean),
        "real_clips": int((clean.label == 0).sum()),
        "cut_clips": len(replaced["cut"]) if "cut" in replaced else 0,
        "windows": len(metas),
        "stranger": _against_own(pairs, replicates, seed) | {"draws": _draws(pairs)} if pairs else None,
        "shifts": [_shift(shifts, ms, replicates, seed) for ms in SHIFTS if ms in shifts or -ms in shifts],
        "replaced": {kind: _tiers(clips, replicates, seed) for kind, clips in replaced.items()},
        "shuffled_loss": _loss(clean, replaced.get("shuffled"), replicates, seed),
        "left_out": found.left_out,
        **(limits or {"audio_only": [], "one_image": []}),
    }
    return result | {"verdicts": {name: verdict(result, name) for name in own}}


def _is_image(fields: Reads) -> bool:
    """Return True if a system takes one frame as its video."""
    return fields.frames is not None and len(fields.frames) == 1 and not fields.landmarks


def _against_own(parts: Sequence[Part], replicates: int, seed: int) -> dict[str, Any]:
    """Return the size of the test and the AUC of each branch: changed clips against the same ones, of all parts."""
    clips = [own for own, _ in parts] + [changed for _, changed in parts]
    labels = np.repeat([0, 1], sum(len(own) for own, _ in parts))
    identities = np.concatenate([one.identity for one in clips])

    def area(branch: str) -> dict[str, Any]:
        scores = np.concatenate([one.scores[branch] for one in clips], axis=1)
        return auc(labels, scores, identities, replicates, seed)

    sources = {source for own, _ in parts for source in own.source}
    return {"clips": len(sources), "branches": {branch: area(branch) for branch in clips[0].scores}}


def _draws(pairs: Sequence[Part]) -> dict[str, list[float]]:
    """Return the AUC of each branch in each draw, the mean over runs."""
    aucs = [_against_own([pair], 0, 0)["branches"] for pair in pairs]
    return {branch: [one[branch]["auc"] for one in aucs] for branch in aucs[0]}


def _shift(shifts: Mapping[int, Part], ms: int, replicates: int, seed: int) -> dict[str, Any]:
    """Return the metrics of a shift; those of a direction are None if no window allows it."""
    late, early = shifts.get(ms), shifts.get(-ms)

    def figures(*parts: Part | None) -> dict[str, Any] | None:
        there = [part for part in parts if part is not None]
        if not there:
            return None
        return _against_own(there, replicates, seed) | {"windows": sum(int(own.windows.sum()) for own, _ in there)}

    return {"ms": ms, "late": figures(late), "early": figures(early), "both": figures(late, early)}


def _tiers(clips: ScoredClips, replicates: int, seed: int) -> dict[str, Any]:
    """Return the AUC of each branch, overall and by tier."""

    def area(part: ScoredClips) -> dict[str, Any]:
        return {
            branch: auc(part.label, scores, part.identity, replicates, seed) for branch, scores in part.scores.items()
        }

    return {"overall": area(clips), "tiers": {name: area(part) for name, part in tier_parts(clips)}}


def _loss(own: ScoredClips, shuffled: ScoredClips | None, replicates: int, seed: int) -> dict[str, Any] | None:
    """Return the difference in AUC that shuffling makes for each branch; None without clips of the tier."""
    if shuffled is None:
        return None
    ours, theirs = (dict(tier_parts(clips)).get(SHUFFLED_TIER) for clips in (own, shuffled))
    if ours is None or theirs is None:
        return None
    return {
        branch: paired_auc(
            ours.label, scores, theirs.scores[branch], ours.identity,
            same_runs=True, replicates=replicates, seed=seed,
        )
        for branch, scores in ours.scores.items()
    }  # fmt: skip
