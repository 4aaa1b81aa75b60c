"""Shortcut probes: can a fake be told from properties that have nothing to do with faking?

    N clips   D features of a cue

A data set whose fakes are longer, louder or smaller files than its reals teaches a detector just that. Each probe is
a classifier that sees one such property (a cue) and nothing else. Where it does much better than chance, the cue is a
shortcut.

References:
    Silence at the edges gives the fakes of FakeAVCeleb away: Smeu et al., "Circumventing shortcuts in audio-visual
    deepfake detection datasets with unsupervised learning", CVPR 2025.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from avdfd import metrics
from avdfd.datasets.tiers import RVRA, TIERS

SHORTCUT = 0.6
"""A probe above this has found something, if that is more than chance."""
IDENTITY = "identity"
"""The cue that every clip has: who is in it."""

_FOLDS = 5
_REPLICATES = 200
_DOUBT = 0.05  # that one of all probes of a clean corpus is above chance


class Clip(NamedTuple):
    """What the probes are given of a clip."""

    tier: str
    identities: tuple[str, ...]
    base: str
    """Clip that this one was made from, or the clip itself."""
    cues: Mapping[str, Any]
    """By name: a number, features (D,), or a set of tags."""


class Probe(NamedTuple):
    """How well one cue tells the fakes."""

    auc: float
    error: float
    """Standard error over identities."""
    shortcut: bool = False
    """Whether that is above SHORTCUT, and more than chance explains among all probes of a comparison."""


def probe(features: ArrayLike, labels: ArrayLike, groups: ArrayLike, people: ArrayLike | None = None) -> Probe:
    """AUC of a classifier that sees one cue only (N, D), or (N,), on `groups` that it was not fitted on: identities.

    The classifier is a logistic regression, for a single number on its square too, so that it finds a fake that has
    more, less, or an unusual amount of it. AUC is taken inside each fold and averaged: scores of two folds come from
    two classifiers and need not be comparable. It is not mirrored at 0.5: below means that nothing was learned.
    `people`: whom each clip is of, if groups are something else. Raises ValueError for one class only or fewer than
    two groups.
    """
    x, y, g = np.asarray(features, float), np.asarray(labels), np.asarray(groups)
    x = x[:, None] if x.ndim == 1 else x
    who = g if people is None else np.asarray(people)
    count = len(np.unique(g))
    if len(np.unique(y)) < 2 or count < 2:
        raise ValueError("a probe needs both classes and at least two groups")
    if not len(x.T) or not np.ptp(x, axis=0).any():
        return Probe(0.5, 0.0)
    powers = [PolynomialFeatures(2, include_bias=False)] if len(x.T) == 1 else []
    strength = 1.0 if len(x.T) == 1 else 0.1
    model = make_pipeline(StandardScaler(), *powers, LogisticRegression(C=strength, max_iter=1000))
    aucs, variances = [], []
    for train, test in GroupKFold(min(_FOLDS, max(count // 2, 2))).split(x, y, g):
        if len(np.unique(y[train])) == 2 and len(np.unique(y[test])) == 2:
            scores = model.fit(x[train], y[train]).decision_function(x[test])
            aucs.append(metrics.auc(y[test], scores))
            variances.append(_variance(y[test], scores, who[test]))
    if not aucs:
        raise ValueError("no fold has both classes on both sides")
    # Of few people in a fold the bootstrap sees little; how far the folds are apart says more then.
    between = np.std(aucs, ddof=1) / np.sqrt(len(aucs)) if len(aucs) > 1 else 0.0
    return Probe(float(np.mean(aucs)), float(max(between, np.sqrt(np.sum(variances)) / len(aucs))))


def compare(clips: Sequence[Clip]) -> dict[str, dict[str, Probe]]:
    """What every cue, and the identity, tells of each fake tier against RVRA: `{tier: {cue: Probe}}`.

    Identities are probed on source clips that the classifier was not fitted on, as it has to know the people. Among
    many probes of few clips, some are above SHORTCUT by chance; so a shortcut is as many standard errors above 0.5 as
    it takes for all probes of a clean corpus to stay below, 19 times in 20 (Bonferroni). Raises ValueError as `probe`.
    """
    real = [clip for clip in clips if clip.tier == RVRA.name]
    result = {}
    for tier in TIERS:
        fake = [clip for clip in clips if clip.tier == tier]
        if fake and tier != RVRA.name:
            labels = [0] * len(real) + [1] * len(fake)
            result[tier] = dict(_compare_tier([*real, *fake], labels))
    errors = norm.isf(_DOUBT / max(sum(map(len, result.values())), 1))
    return {tier: {cue: _judged(one, errors) for cue, one in cues.items()} for tier, cues in result.items()}


def _judged(one: Probe, errors: float) -> Probe:
    return one._replace(shortcut=bool(one.auc > max(SHORTCUT, 0.5 + errors * one.error)))


def _compare_tier(clips: Sequence[Clip], labels: Sequence[int]) -> Iterator[tuple[str, Probe]]:
    people = [clip.identities[0] for clip in clips]
    for cue in clips[0].cues:
        yield cue, probe(_features([clip.cues[cue] for clip in clips]), labels, people)
    bases = [clip.base for clip in clips]
    if len(set(bases)) > 1:
        yield IDENTITY, probe(_features([frozenset(clip.identities) for clip in clips]), labels, bases, people)


def _features(values: Sequence[Any]) -> np.ndarray:
    """Numbers, vectors or sets of tags of N clips as (N, D). A tag that all have, or one alone, tells nothing."""
    if not isinstance(values[0], frozenset):
        return np.array(values, float)
    columns = DictVectorizer(sparse=False).fit_transform([dict.fromkeys(tags, 1) for tags in values])
    times = columns.sum(axis=0)
    return columns[:, (times > 1) & (times < len(values))]


def _variance(labels: np.ndarray, scores: np.ndarray, people: np.ndarray) -> float:
    """Of an AUC, over people."""
    names, member = np.unique(people, return_inverse=True)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_REPLICATES)[:, member]
    usable = (weights @ labels > 0) & (weights @ (1 - labels) > 0)
    return float(metrics.area(metrics.roc(labels, scores, weights[usable])).var()) if usable.any() else 0.0
