"""From the scores of elements to what is reported: clips, their metrics, their figures.

The clip is the unit: the probabilities of its windows are averaged. Every fake tier is judged against RVRA.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avdfd import metrics, plots
from avdfd.datasets.tiers import RVRA, TIERS
from avdfd.elements import ElementMeta
from avdfd.scoring import Scores

TUNED = "balanced_accuracy_at_validation_eer"


@dataclass(frozen=True)
class Clip:
    """One clip with the means of its windows' scores."""

    source: str
    tier: str
    label: int
    identity: str
    windows: int
    scores: dict[str, float]
    """Branch -> P(fake)."""
    weight_audio: float | None
    discrepancy: float | None


def pool(metas: Sequence[ElementMeta], scores: Scores) -> list[Clip]:
    """Elements to clips, in the order in which the clips come first."""
    members: dict[str, list[int]] = defaultdict(list)
    for position, meta in enumerate(metas):
        members[meta.source].append(position)

    def mean(values: np.ndarray | None, positions: list[int]) -> float | None:
        return None if values is None else float(values[positions].mean())

    clips = []
    for source, positions in members.items():
        meta = metas[positions[0]]
        means = {branch: float(values[positions].mean()) for branch, values in scores.branch.items()}
        clips.append(
            Clip(source, meta.tier, meta.label, meta.identities[0], len(positions), means,
                 mean(scores.w_audio, positions), mean(scores.discrepancy, positions))
        )  # fmt: skip
    return clips


def judge(
    clips: list[Clip], branches: Sequence[str], main: str, tuned: dict[str, float], *, replicates: int, seed: int
) -> dict[str, Any]:
    """Every metric of every branch, overall and for each fake tier against RVRA.

    `branches` may name other systems too, whose scores the clips have; `main` is the one that the report is about.
    `tuned`: branch -> threshold.
    """

    def section(chosen: list[Clip]) -> dict[str, Any]:
        labels = np.array([clip.label for clip in chosen])
        identities = [clip.identity for clip in chosen]
        part: dict[str, Any] = {
            "clips": len(chosen),
            "fake_clips": int(labels.sum()),
            "identities": len(set(identities)),
            "windows": sum(clip.windows for clip in chosen),
            "prevalence": float(labels.mean()),
        }
        for branch in branches:
            thresholds = {"balanced_accuracy": 0.5} | ({TUNED: tuned[branch]} if branch in tuned else {})
            scores = [clip.scores[branch] for clip in chosen]
            part[branch] = metrics.measure(
                labels, scores, identities, thresholds=thresholds, replicates=replicates, seed=seed
            )
            part[branch]["eer_threshold"] = metrics.eer_threshold(labels, scores)
        return part

    by_tier = tiers_of(clips)
    return {
        "branches": list(branches),
        "main": main,
        "validation_eer_threshold": tuned or None,
        "overall": section(clips),
        "tiers": {name: section(by_tier[RVRA.name] + fakes) for name, fakes in by_tier.items() if name != RVRA.name},
        "weight_audio": {
            name: dict(zip(("low", "median", "high"), np.quantile(w, [0.25, 0.5, 0.75]).tolist(), strict=True))
            for name, members in by_tier.items()
            if (w := [clip.weight_audio for clip in members if clip.weight_audio is not None])
        },
    }


def tiers_of(clips: list[Clip]) -> dict[str, list[Clip]]:
    """Clips by tier, in the order of the tiers; only those there are."""
    return {name: chosen for name in TIERS if (chosen := [clip for clip in clips if clip.tier == name])}


def draw(clips: list[Clip], branches: Sequence[str], main: str) -> dict[str, str]:
    """The report's figures as SVG."""
    by_tier = tiers_of(clips)

    def pairs(chosen: list[Clip], branch: str) -> tuple[list[int], list[float]]:
        return [clip.label for clip in chosen], [clip.scores[branch] for clip in chosen]

    figures = {
        "roc_branches": plots.roc_curves({b: pairs(clips, b) for b in branches}),
        "roc_tiers": plots.roc_curves(
            {t: pairs(by_tier[RVRA.name] + c, main) for t, c in by_tier.items() if t != RVRA.name}
        ),
        "distributions": plots.distributions({t: np.array(pairs(c, main)[1]) for t, c in by_tier.items()}),
    }
    if clips[0].weight_audio is not None:
        weights = {t: np.array([clip.weight_audio for clip in c]) for t, c in by_tier.items()}
        figures["weights"] = plots.weights(weights)
    return {name: plots.svg(figure) for name, figure in figures.items()}


def as_csv(clips: list[Clip], branches: Sequence[str]) -> str:
    """One line per clip, with all digits of its scores: equal scores stay equal, different ones different."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "tier", "label", "identity", "windows", *branches, "weight_audio", "discrepancy"])
    for clip in clips:
        scores = [clip.scores[branch] for branch in branches]
        facts = [clip.source, clip.tier, clip.label, clip.identity, clip.windows]
        writer.writerow([*facts, *scores, clip.weight_audio, clip.discrepancy])
    return text.getvalue()
