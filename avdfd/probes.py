"""Shortcut probes: can a fake be told from properties that have nothing to do with faking?

A data set whose fakes are longer, louder or smaller files than its reals teaches a detector just that. Each probe is
a classifier that sees one such property (a cue) and nothing else. Where it does much better than chance, the cue is a
shortcut.

References: silence at the edges gives the fakes of FakeAVCeleb away: Smeu et al., "Circumventing shortcuts in
audio-visual deepfake detection datasets with unsupervised learning", CVPR 2025.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from avdfd.datasets.tiers import RVRA
from avdfd.errors import MediaError
from avdfd.sound.acoustics import edge_silence, spectral_edge

CUES = ("duration", "loudness", "edge_silence", "file_size", "bit_rate", "sample_rate", "spectral_edge")

Measured = dict[str, list[tuple[dict[str, float], str]]]
"""By tier, the cues and the identity of every clip."""

_FOLDS = 5


def measure(path: Path | str) -> dict[str, float]:
    """The cues of one file: duration (s), loudness (RMS, dB of full scale), edge_silence (s, before and after the
    sound together), file_size (bytes), bit_rate (bits/s of the whole file), sample_rate (Hz), spectral_edge (Hz up to
    which there is sound, `avdfd.sound.acoustics`).

    Raises MediaError for a file without readable sound.
    """
    path = Path(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: no audio stream")
            rate = container.streams.audio[0].rate
            duration = float(container.duration or 0) / av.time_base
            resampler = av.AudioResampler("flt", "mono")
            pieces = [out.to_ndarray()[0] for f in container.decode(audio=0) for out in resampler.resample(f)]
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if not pieces or duration <= 0:
        raise MediaError(f"{path}: no sound in it")
    sound = np.concatenate(pieces)
    size = float(path.stat().st_size)
    return {
        "duration": duration,
        "loudness": float(20 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-9)),
        "edge_silence": sum(edge_silence(sound, rate)),
        "file_size": size,
        "bit_rate": 8 * size / duration,
        "sample_rate": float(rate),
        "spectral_edge": spectral_edge(sound, rate),
    }


def probe_auc(
    values: Sequence[float] | np.ndarray, labels: Sequence[int] | np.ndarray, groups: Sequence[str] | np.ndarray
) -> float:
    """AUC of a classifier that sees one cue only, on identities (`groups`) that it was not fitted on.

    The classifier is a logistic regression on the standardised cue and its square, so that it finds a fake that has
    more, less, or an unusual amount of it. AUC is taken inside each fold and averaged: scores of two folds come from
    two classifiers and need not be comparable. It is not mirrored at 0.5: below means that nothing was learned.
    Raises ValueError for one class only or fewer than two groups.
    """
    x, y, g = np.asarray(values, float)[:, None], np.asarray(labels), np.asarray(groups)
    if len(np.unique(y)) < 2 or len(np.unique(g)) < 2:
        raise ValueError("a probe needs both classes and at least two groups")
    if np.ptp(x) == 0:
        return 0.5
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), LogisticRegression())
    aucs = []
    for train, test in GroupKFold(min(_FOLDS, len(np.unique(g)))).split(x, y, g):
        if len(np.unique(y[train])) == 2 and len(np.unique(y[test])) == 2:
            scores = model.fit(x[train], y[train]).decision_function(x[test])
            aucs.append(roc_auc_score(y[test], scores))
    if not aucs:
        raise ValueError("no fold has both classes on both sides")
    return float(np.mean(aucs))


def run_probes(rows: Iterable[tuple[Path | str, str, str]]) -> dict[str, dict[str, float]]:
    """AUC of every cue for every tier against RVRA, from (path, tier name, identity): `{tier: {cue: auc}}`."""
    measured: Measured = defaultdict(list)
    for path, tier, identity in rows:
        measured[tier].append((measure(path), identity))
    return compare(measured)


def compare(measured: Measured) -> dict[str, dict[str, float]]:
    """AUC of every cue for every tier against RVRA, from what was measured: `{tier: {cue: auc}}`.

    Raises ValueError as `probe_auc`.
    """
    real = measured.get(RVRA.name, [])
    result: dict[str, dict[str, float]] = {}
    for tier, fake in measured.items():
        if tier == RVRA.name:
            continue
        labels = [0] * len(real) + [1] * len(fake)
        groups = [identity for _, identity in real + fake]
        result[tier] = {c: probe_auc([m[c] for m, _ in real + fake], labels, groups) for c in CUES}
    return result
