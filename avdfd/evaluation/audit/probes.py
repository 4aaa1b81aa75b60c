"""Shortcut probes: classifiers that are given one property of a clip that has nothing to do with manipulation.

    N clips   D features of a cue

If the fakes of a data set are longer, louder or smaller files than its real clips, a detector may learn that instead.
Each probe is given one such property, a cue. A cue whose probe does much better than chance is a shortcut.

References:
    Silence at the edges gives the fakes of FakeAVCeleb away: Smeu et al., "Circumventing shortcuts in audio-visual
    deepfake detection datasets with unsupervised learning", CVPR 2025.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from avdfd.core.tiers import FAKES, RVRA
from avdfd.metrics import roc

SHORTCUT = 0.6
"""A probe above this AUC has found a shortcut if chance does not explain it."""
CERTAIN = 0.9
"""A probe above this AUC has found a shortcut, however few clips there are."""
IDENTITY = "identity"
"""The cue that every clip has: its identities."""

_FOLDS = 5
_EXCHANGES = 50
_DOUBT = 0.05  # chance that a clean corpus has a probe that counts as a shortcut


class Clip(NamedTuple):
    """A clip as the probes see it."""

    tier: str
    identities: tuple[str, ...]
    base: str
    """The clip that this one was made from, or the clip itself."""
    cues: Mapping[str, Any]
    """By name: a number, features (D,), or a set of tags."""


class Probe(NamedTuple):
    """The result of one probe."""

    auc: float
    by_chance: float | None = None
    """Upper limit of the AUC on a clean corpus; measured only for an AUC above SHORTCUT."""

    @property
    def shortcut(self) -> bool:
        return self.by_chance is not None and self.auc > self.by_chance


class Probed(NamedTuple):
    """The probes of a data set."""

    table: dict[str, dict[str, Probe]]
    """Tier -> cue -> result."""
    left_out: dict[str, dict[str, str]]
    """Tier -> cue -> what the probe needs and does not find."""


class _Cue(NamedTuple):
    """The data of a probe."""

    features: np.ndarray
    """(N, D)"""
    labels: np.ndarray
    """(N,) 1 = fake."""
    groups: np.ndarray
    """(N,); the clips of a group are all used to fit a classifier, or none is."""
    identities: np.ndarray
    """(N,); labels are exchangeable among the clips of an identity if the cue carries no information."""


def probe_auc(features: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> float:
    """Return the AUC of a classifier that is given one cue (N, D), or (N,), on groups it was not fitted on.

    The groups are usually identities. The classifier is a logistic regression; a single number is given with its
    square, so that fakes with more, less, or an unusual amount of it are found. AUC is measured within each fold and
    averaged, as the scores of two classifiers need not be comparable. It is not mirrored at 0.5: an AUC below means
    that nothing was learned. Raises ValueError for a single class or fewer than two groups.
    """
    # Imported here, as all scripts that write a report import this module, few of them probe, and it takes 0.8 s.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

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


def probe_tiers(clips: Sequence[Clip], lacking: Mapping[str, str] | None = None) -> Probed:
    """Probe every cue, and the identity, for each fake tier against RVRA.

    `lacking` holds the cues that these clips do not have, and why; they are left out by name, and so is a probe whose
    clips do not have both classes on both sides.

    Identities are probed on source clips that the classifier was not fitted on, as it has to know the identities. Of
    many probes on few clips, some exceed SHORTCUT by chance. Their distribution under chance is measured by exchanging
    labels: a shortcut exceeds the limit that all probes of a clean corpus stay below 19 times in 20 (Bonferroni), or
    CERTAIN. Raises ValueError if nothing can be probed.
    """
    real = [clip for clip in clips if clip.tier == RVRA.name]
    cues = {
        tier: dict(_cues([*real, *fake], len(real)))
        for tier in FAKES
        if (fake := [clip for clip in clips if clip.tier == tier])
    }
    limit_sd = -float(scipy.special.ndtri(_DOUBT / max(sum(map(len, cues.values())), 1)))
    table: dict[str, dict[str, Probe]] = {tier: {} for tier in cues}
    left_out = {tier: dict(lacking or {}) for tier in cues}
    for tier, of in cues.items():
        for name, cue in of.items():
            try:
                table[tier][name] = _probe(cue, limit_sd)
            except ValueError as error:
                left_out[tier][name] = str(error)
        if IDENTITY not in of:
            left_out[tier][IDENTITY] = "needs clips of two recordings"
    if not any(table.values()):
        reasons = dict.fromkeys(reason for of in left_out.values() for reason in of.values())
        raise ValueError("; ".join(reasons) or "there are no real clips and fakes")
    return Probed(table, left_out)


def _probe(cue: _Cue, limit_sd: float) -> Probe:
    auc = probe_auc(cue.features, cue.labels, cue.groups)
    if auc <= SHORTCUT:
        return Probe(auc)
    rng, aucs = np.random.default_rng(0), []
    for _ in range(_EXCHANGES):
        labels = _exchanged(cue.labels, cue.identities, rng)
        with contextlib.suppress(ValueError):  # no fold has both classes after this exchange
            aucs.append(probe_auc(cue.features, labels, cue.groups))
    return Probe(auc, float(min(np.mean(aucs) + limit_sd * np.std(aucs), CERTAIN)))


def _exchanged(labels: np.ndarray, identities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels (N,) as likely as the true ones if the cue carries no information.

    Labels are exchanged among the clips of an identity and, as a whole, among identities of a single class, so that
    what the clips of an identity have in common does not count as information.
    """
    _, member = np.unique(identities, return_inverse=True)
    exchanged = np.empty_like(labels)
    exchanged[np.argsort(member, kind="stable")] = labels[np.lexsort((rng.random(len(labels)), member))]
    fakes = np.bincount(member, labels) / np.bincount(member)
    one_sided = np.flatnonzero((fakes == 0) | (fakes == 1))
    drawn = fakes.copy()
    drawn[one_sided] = rng.permutation(fakes[one_sided])
    return np.where(np.isin(member, one_sided), drawn[member], exchanged).astype(labels.dtype)


def _cues(clips: Sequence[Clip], reals: int) -> Iterator[tuple[str, _Cue]]:
    """Yield the cues of clips, the first `reals` of which are real."""
    labels = (np.arange(len(clips)) >= reals).astype(int)
    identities = np.array([clip.identities[0] for clip in clips])
    for name in clips[0].cues:
        yield name, _Cue(_features([clip.cues[name] for clip in clips]), labels, identities, identities)
    bases = np.array([clip.base for clip in clips])
    if len(set(bases)) > 1:
        features = _features([frozenset(clip.identities) for clip in clips])
        yield IDENTITY, _Cue(features, labels, bases, np.arange(len(clips)))


def _features(values: Sequence[Any]) -> np.ndarray:
    """Return numbers, vectors or sets of tags of N clips as (N, D), without tags that all clips have, or only one."""
    if not isinstance(values[0], frozenset):
        return np.array(values, float).reshape(len(values), -1)
    names = sorted(frozenset().union(*values))
    columns = np.array([[name in tags for name in names] for tags in values], float)
    times = columns.sum(axis=0)
    return columns[:, (times > 1) & (times < len(values))]
