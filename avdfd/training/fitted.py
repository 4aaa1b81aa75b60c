"""Fitted score of stage 1: logistic regression on clip statistics, centred within groups.

    N clips   M values of a clip

Each group (a page or an identity) is centred on the midpoint of its two classes, which removes differences between
groups. Values are scaled by their standard deviation within groups, because variation between pages is no noise when a
fake is compared with real clips of its own page. A few hundred clips determine a penalised linear function well, and a
network of as many inputs less well by gradient descent (docs/experiments.md).

Real clips of a group differ in words, voice and codec. A direction in which they vary says little about fakes, so it
may be penalised: values are then whitened by the covariance of real clips within groups, shrunk towards the identity.

References: Hatch et al., "Within-class covariance normalization for SVM-based speaker recognition", Interspeech 2006,
for the whitening; Fisher, "The use of multiple measurements in taxonomic problems", 1936, for scaling within groups;
Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2017.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch

from avdfd.datasets.loaders import ElementSet, to_device
from avdfd.datasets.samplers import Draw
from avdfd.elements import ElementMeta
from avdfd.features.patches import Patches
from avdfd.models.audio_encoder import AudioEncoder, FittedScore, pooled
from avdfd.models.speech_encoder import Hidden, SpeechEncoder, summary
from avdfd.training.cached_batches import CachedBatches

Values = Callable[[Sequence[int]], np.ndarray]
"""Function from positions of n elements to their values (n, M)."""


class Clips(NamedTuple):
    """Training clips that a score is fitted to."""

    metas: Sequence[ElementMeta]
    values: np.ndarray
    """(N, M), float64."""
    labels: np.ndarray
    """(N,), 1 = fake."""
    groups: np.ndarray
    """(N,) page or identity."""


_BATCH = 64  # elements
_FEWEST = 3  # real clips of a group for its covariance


def values_of(encoder: AudioEncoder | SpeechEncoder, elements: ElementSet, batches: object) -> Values:
    """Return the function from elements to the values that the score is fitted to.

    `elements` have no augmentation; `batches` are those of their epochs, whose cache is used if they have one.
    """
    device = encoder.proj.weight.device if isinstance(encoder, SpeechEncoder) else encoder.patch_proj.weight.device

    @torch.inference_mode()
    def values(positions: Sequence[int]) -> np.ndarray:
        front: object
        if isinstance(batches, CachedBatches):
            front = batches.take(positions).cached
        else:
            raw = to_device(elements.raw(positions), device)
            batch = elements.prepare(raw, [Draw(position, None) for position in positions])
            front = encoder.front(batch.mel) if batch.cached is None else batch.cached
        if isinstance(front, Hidden):
            return summary(front).cpu().numpy()
        assert isinstance(front, Patches), "the other encoder's front end"
        return pooled(front).cpu().numpy()

    return values


def clip_values(metas: Sequence[ElementMeta], values_of: Values, *, by: Literal["identity", "page"]) -> Clips:
    """Return the clips of training elements, each with the mean of its windows.

    A clip with fake and real windows is two, with the mean of either.
    """
    windows: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    clips: dict[tuple[str, int], ElementMeta] = {}
    for first in range(0, len(metas), _BATCH):
        positions = range(first, min(first + _BATCH, len(metas)))
        for position, row in zip(positions, values_of(positions), strict=True):
            meta = metas[position]
            clip = meta.source, meta.window.label
            windows[clip].append(row)
            clips[clip] = meta
    return Clips(
        [*clips.values()],
        np.stack([np.mean(rows, axis=0) for rows in windows.values()]).astype(np.float64),
        np.array([label for _, label in windows]),
        np.array([meta.page if by == "page" else meta.identities[0] for meta in clips.values()]),
    )


def fit_score(score: FittedScore, clips: Clips, c: float, whiten: float = 0.0) -> None:
    """Fit centre and direction to training clips, as `centred_regression` does.

    The score has mean 0 and standard deviation 1 over the clips.
    """
    centre, direction = centred_regression(clips.values, clips.labels, clips.groups, c, whiten)
    score.centre.copy_(torch.from_numpy(centre))
    score.direction.copy_(torch.from_numpy(direction))


def centred_regression(
    values: np.ndarray, labels: np.ndarray, groups: np.ndarray, c: float, whiten: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre (M,) and direction (M,), fitted to values (N, M), labels (N,) and groups (N,).

    The score of the values has standard deviation 1. The two classes of a group have equal weight, and the weight of a
    group is the square root of the size of its smaller class. Groups with one class are left out, except that their
    real clips count for `whiten`: the penalty on the variance of the score among the real clips of a group, relative to
    that on its squared norm. Raises ValueError if no group has both classes.
    """
    scale = scale_within(values, labels, groups)
    direction = regression(values / scale, labels, groups, c, whiten) / scale
    return values.mean(axis=0), direction / (values @ direction).std()


def scale_within(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the standard deviation (M,) of values (N, M) within groups. Raises ValueError as `centred_regression`."""
    return _centred(values, labels, groups)[0].std(axis=0) + 1e-6


def regression(values: np.ndarray, labels: np.ndarray, groups: np.ndarray, c: float, whiten: float) -> np.ndarray:
    """Return the direction (M,) of `centred_regression` for scaled values (N, M), of any length.

    Rotated values give the rotated direction.
    """
    from sklearn.linear_model import LogisticRegression  # here, as few configs need it and it takes long

    x, y, weight = _centred(values, labels, groups)
    whitened = _whitening(values, labels, groups, whiten)
    model = LogisticRegression(C=c, max_iter=1000).fit(whitened(x), y, sample_weight=weight / weight.mean())
    return whitened(model.coef_)[0]


def _centred(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values (n, M), labels (n,) and weights (n,) of the clips of groups with both classes."""
    rows, targets, weights = [], [], []
    for group in np.unique(groups):
        member = groups == group
        real, fake = values[member & (labels == 0)], values[member & (labels == 1)]
        if not len(real) or not len(fake):
            continue
        middle = (real.mean(axis=0) + fake.mean(axis=0)) / 2
        weight = min(len(real), len(fake)) ** 0.5 / 2
        for target, of_class in enumerate((real, fake)):
            rows.append(of_class - middle)
            targets.append(np.full(len(of_class), target))
            weights.append(np.full(len(of_class), weight / len(of_class)))
    if not rows:
        raise ValueError("no group has real and fake clips")
    return np.concatenate(rows), np.concatenate(targets), np.concatenate(weights)


def _whitening(
    values: np.ndarray, labels: np.ndarray, groups: np.ndarray, strength: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function x (n, M) -> x (I + strength S)^(-1/2), S the covariance (M, M) of real values within groups.

    Groups with fewer than three real clips say too little about it. S has at most as many directions as there are
    clips, so it is never formed.
    """
    real = [values[(groups == group) & (labels == 0)] for group in np.unique(groups)]
    rest = [of_group - of_group.mean(axis=0) for of_group in real if len(of_group) >= _FEWEST]
    if not strength or not rest:
        return lambda x: x
    rows = np.concatenate(rest)
    variance, vectors = np.linalg.eigh(rows @ rows.T * (strength / len(rows)))
    kept = variance > 1e-9 * variance[-1]
    basis = rows.T @ vectors[:, kept]
    basis /= np.linalg.norm(basis, axis=0)
    shrunk = 1 / np.sqrt(1 + variance[kept]) - 1
    return lambda x: x + (x @ basis * shrunk) @ basis.T
