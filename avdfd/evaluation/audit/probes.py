"""Shortcut probes: can a fake be told from properties that have nothing to do with faking?

    N clips   D features of a cue

A data set whose fakes are longer, louder or smaller files than its reals teaches a detector just that. Each probe is
a classifier that sees one such property (a cue) and nothing else. Where it does much better than chance, the cue is a
shortcut.

References:
    Silence at the edges gives the fakes of FakeAVCeleb away: Smeu et al., "Circumventing shortcuts in audio-visual
    deepfake detection datasets with unsupervised learning", CVPR 2025.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from avdfd.core.tiers import RVRA, TIERS
from avdfd.metrics import roc

SHORTCUT = 0.6
"""A probe above this has found something, if that is more than chance."""
CERTAIN = 0.9
"""A probe above this has found something however few clips there are."""
IDENTITY = "identity"
"""The cue that every clip has: who is in it."""

_FOLDS = 5
_EXCHANGES = 50
_DOUBT = 0.05  # that one of all probes of a clean corpus is taken for a shortcut


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
    by_chance: float | None = None
    """What the AUC of a clean corpus stays below; of an AUC above SHORTCUT only."""

    @property
    def shortcut(self) -> bool:
        return self.by_chance is not None and self.auc > self.by_chance


class _Cue(NamedTuple):
    """What a probe is made of."""

    features: np.ndarray
    """(N, D)"""
    labels: np.ndarray
    """(N,) 1 = fake."""
    groups: np.ndarray
    """(N,) clips of one group are on one side when a classifier is fitted."""
    people: np.ndarray
    """(N,) in whose clips labels may be exchanged if the cue tells nothing."""


def probe_auc(features: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> float:
    """AUC of a classifier that sees one cue only (N, D), or (N,), on `groups` that it was not fitted on: identities.

    The classifier is a logistic regression, for a single number on its square too, so that it finds a fake that has
    more, less, or an unusual amount of it. AUC is taken inside each fold and averaged: scores of two folds come from
    two classifiers and need not be comparable. It is not mirrored at 0.5: below means that nothing was learned.
    Raises ValueError for one class only or fewer than two groups.
    """
    x, y, g = np.asarray(features, float), np.asarray(labels), np.asarray(groups)
    x = x[:, None] if x.ndim == 1 else x
    count = len(np.unique(g))
    if len(np.unique(y)) < 2 or count < 2:
        raise ValueError("a probe needs both classes and at least two groups")
    x = x[:, np.ptp(x, axis=0) > 0]
    if not len(x.T):
        return 0.5
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    single = len(x.T) == 1
    x = np.concatenate([x, x**2], axis=1) if single else x
    model = LogisticRegression(C=1.0 if single else 0.1, max_iter=1000)
    aucs = []
    for train, test in GroupKFold(min(_FOLDS, count)).split(x, y, g):
        if len(np.unique(y[train])) == 2 and len(np.unique(y[test])) == 2:
            scores = model.fit(x[train], y[train]).decision_function(x[test])
            aucs.append(roc.auc(y[test], scores))
    if not aucs:
        raise ValueError("no fold has both classes on both sides")
    return float(np.mean(aucs))


def compare(clips: Sequence[Clip]) -> dict[str, dict[str, Probe]]:
    """What every cue, and the identity, tells of each fake tier against RVRA: `{tier: {cue: Probe}}`.

    Identities are probed on source clips that the classifier was not fitted on, as it has to know the people. Among
    many probes of few clips, some are above SHORTCUT by chance. What chance does is seen with labels exchanged; a
    shortcut is above what all probes of a clean corpus stay below, 19 times in 20 (Bonferroni), or above CERTAIN.
    Raises ValueError as `probe_auc`.
    """
    real = [clip for clip in clips if clip.tier == RVRA.name]
    cues = {
        tier: dict(_cues([*real, *fake], len(real)))
        for tier in TIERS
        if tier != RVRA.name and (fake := [clip for clip in clips if clip.tier == tier])
    }
    deviations = float(norm.isf(_DOUBT / max(sum(map(len, cues.values())), 1)))
    return {tier: {name: _probe(cue, deviations) for name, cue in of.items()} for tier, of in cues.items()}


def _probe(cue: _Cue, deviations: float) -> Probe:
    auc = probe_auc(cue.features, cue.labels, cue.groups)
    if auc <= SHORTCUT:
        return Probe(auc)
    rng, aucs = np.random.default_rng(0), []
    for _ in range(_EXCHANGES):
        labels = _exchanged(cue.labels, cue.people, rng)
        with contextlib.suppress(ValueError):  # an exchange after which no fold has both classes
            aucs.append(probe_auc(cue.features, labels, cue.groups))
    return Probe(auc, float(min(np.mean(aucs) + deviations * np.std(aucs), CERTAIN)))


def _exchanged(labels: np.ndarray, people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels (N,) as they could be as well if nothing told them: exchanged among the clips of one person, and among
    people who have one class alone, so that what a person's clips have in common is not taken for knowledge."""
    _, member = np.unique(people, return_inverse=True)
    exchanged = np.empty_like(labels)
    exchanged[np.argsort(member, kind="stable")] = labels[np.lexsort((rng.random(len(labels)), member))]
    fakes = np.bincount(member, labels) / np.bincount(member)
    one_sided = np.flatnonzero((fakes == 0) | (fakes == 1))
    drawn = fakes.copy()
    drawn[one_sided] = rng.permutation(fakes[one_sided])
    return np.where(np.isin(member, one_sided), drawn[member], exchanged).astype(labels.dtype)


def _cues(clips: Sequence[Clip], reals: int) -> Iterator[tuple[str, _Cue]]:
    """The cues of clips, of which the first are real."""
    labels = (np.arange(len(clips)) >= reals).astype(int)
    people = np.array([clip.identities[0] for clip in clips])
    for name in clips[0].cues:
        yield name, _Cue(_features([clip.cues[name] for clip in clips]), labels, people, people)
    bases = np.array([clip.base for clip in clips])
    if len(set(bases)) > 1:
        features = _features([frozenset(clip.identities) for clip in clips])
        yield IDENTITY, _Cue(features, labels, bases, np.arange(len(clips)))


def _features(values: Sequence[Any]) -> np.ndarray:
    """Numbers, vectors or sets of tags of N clips as (N, D). A tag that all have, or one alone, tells nothing."""
    if not isinstance(values[0], frozenset):
        return np.array(values, float).reshape(len(values), -1)
    columns = DictVectorizer(sparse=False).fit_transform([dict.fromkeys(tags, 1) for tags in values])
    times = columns.sum(axis=0)
    return columns[:, (times > 1) & (times < len(values))]
