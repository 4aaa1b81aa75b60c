"""Domain of a run: fitted to its training data when it is evaluated on validation, and judged in every evaluation.

    N clips   S runs of one system

The reference is the training split alone. Validation, whose identities it does not contain, says how far clips of the
same kind are from it, and so do its own identities, each left out of it; the distance beyond which a clip is out of
domain follows from that, and test has no part in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from avdfd.baselines.open_store import open_store
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import training_elements
from avdfd.elements import ElementMeta, ElementStore
from avdfd.elements.protocol import Store
from avdfd.evaluation.pooling import stack
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.evaluation.shortened import ShortenedStore
from avdfd.evaluation.stored import folder_of
from avdfd.features.acoustics import loudness, spectral_edge
from avdfd.features.window import SAMPLE_RATE
from avdfd.inference import domain
from avdfd.inference.domain import Domain
from avdfd.inference.runs import Run
from avdfd.inference.scoring import score
from avdfd.metrics import roc
from avdfd.metrics.domain import PARTS, Reference, combined, distances_left_out, fit
from avdfd.metrics.roc import Floats

BUILT_IN_METHODS = frozenset({"klatt", "lipsync", "world-vc", "world-svc"})
"""Methods of the fakes of the built-in corpus (data/corpus/clips.py)."""
NOT_TRAINED = "its weights were not trained here, so what they were trained on is not known"
"""Why published weights, and systems without training, have no domain."""
MOST = 4096
"""Windows of the training split from which a reference is computed, evenly over its clips."""
_HEARD = 256  # of them, whose audio is described
_QUANTILES = (0.05, 0.5, 0.95)
_BINS, _IN_BIN = 10, 10  # of the curve: most bins, and fewest clips in one
_RANGES = (0.0, 50.0, 90.0)
"""Percentiles of the calibration clips at which the ranges of distance begin in which errors are counted."""


class Fitted(NamedTuple):
    """The training data of the runs of a system, before validation has been scored."""

    references: Sequence[Mapping[str, Reference]]
    """One for each run."""
    calibration: Mapping[str, Floats]
    """Branch -> distances of training clips from clips of other identities, means over the runs; none of few
    identities."""
    short: Mapping[str, Floats]
    """The same of clips shorter than a window, and of one window of each training clip, cut short."""
    facts: Mapping[str, Any]


def fit_to_training(runs: Sequence[Run], **how: Any) -> Fitted | str:
    """Return what the training data of a system looked like, or why that is not known; `how` as for `score`.

    Its runs have the same training data.
    """
    run = runs[0]
    if any(one.early is None for one in runs):
        return NOT_TRAINED
    try:
        store = open_store(run.config.data.elements, run.config)
        metas = training_elements(run.config, store, None if run.trains_on_fakes else ()).train
    except UserError as error:
        return f"the training data cannot be read: {error}"
    chosen = [metas[at] for at in np.linspace(0, len(metas) - 1, min(MOST, len(metas))).round().astype(int).tolist()]
    classes = np.array([meta.tier for meta in chosen])
    features = [domain.features_of(one, ElementSet(store, chosen, one.inputs), **how) for one in runs]
    references = [{branch: fit(x, classes) for branch, x in of_run.items()} for of_run in features]
    facts = {
        "checkpoint_sha256": domain.weights_of(runs),
        "corpus": corpus_facts(run.config.data.elements, metas),
        "audio": audio_facts(store, chosen),
    }
    if len({meta.identities[0] for meta in chosen}) < PARTS:
        return Fitted(references, {}, {}, facts)
    judged, windows = features, chosen
    if cut := _cut_short(store, chosen):
        of_cut = [domain.features_of(one, ElementSet(*cut, one.inputs), **how) for one in runs]
        judged = [
            {branch: np.concatenate([x, more[branch]]) for branch, x in of_run.items()}
            for of_run, more in zip(features, of_cut, strict=True)
        ]
        windows = [*chosen, *cut.metas]
    far = _left_out(features, chosen, judged, windows)
    short = np.array([meta.short for meta in chosen] + [True] * (len(windows) - len(chosen)))
    calibration, of_short = (
        {branch: _of_clips(values[kept], windows, kept) for branch, values in far.items()}
        for kept in (~short if not short.all() else short, short)
    )
    return Fitted(references, calibration, of_short, facts)


class _Cut(NamedTuple):
    """One window, the first, of each clip that is not short, as if it had ended earlier."""

    store: ShortenedStore
    metas: Sequence[ElementMeta]


def _cut_short(store: Store, metas: Sequence[ElementMeta]) -> _Cut | None:
    """Return one window of each clip, cut short; None of a store whose windows cannot be, or without longer clips."""
    if not isinstance(store, ElementStore) or not store.has_waveforms or store.whole:
        return None
    first = [*{meta.source: meta for meta in reversed(metas) if not meta.short}.values()][::-1]
    return _Cut(ShortenedStore(store), first) if first else None


def _left_out(
    features: Sequence[Mapping[str, Floats]],
    metas: Sequence[ElementMeta],
    judged: Sequence[Mapping[str, Floats]],
    of: Sequence[ElementMeta],
) -> dict[str, Floats]:
    """Return by branch the distance of windows `of`, with features `judged`, from training windows of other identities.

    Both have features for each run of a system; the distances are means over the runs.
    """
    classes = np.array([meta.tier for meta in metas])
    groups, own = ([meta.identities[0] for meta in windows] for windows in (metas, of))
    return {
        branch: np.mean(
            [
                distances_left_out(ours[branch], classes, groups, theirs[branch], own)
                for ours, theirs in zip(features, judged, strict=True)
            ],
            axis=0,
        )
        for branch in features[0]
    }


def _of_clips(values: Floats, metas: Sequence[ElementMeta], kept: np.ndarray) -> Floats:
    """Return the mean of the values of each clip's kept windows."""
    _, clip = np.unique([meta.source for meta, keep in zip(metas, kept, strict=True) if keep], return_inverse=True)
    return np.bincount(clip, values) / np.bincount(clip)


def calibrate(
    fitted: Fitted, runs: Sequence[Run], store: Store, metas: Sequence[ElementMeta], clips: ScoredClips, **how: Any
) -> Domain:
    """Return the domain, given the scored clips of validation and the runs with distances; `how` as for `score`.

    Clips are also cut short, one window of each, where that can be done.
    """
    whole = ~clips.short if not clips.short.all() else clips.short
    calibration = {branch: values[whole] for branch, values in clips.distances.items()}
    short = calibration
    if cut := _cut_short(store, metas):
        found = stack([score(one, ElementSet(*cut, one.inputs), **how) for one in runs]).distances
        short = {branch: np.append(values[clips.short], found[branch]) for branch, values in clips.distances.items()}
    calibration, short = (
        {branch: np.append(values, learnt.get(branch, [])) for branch, values in ours.items()}
        for ours, learnt in ((calibration, fitted.calibration), (short, fitted.short))
    )
    return Domain(fitted.references, calibration, short, fitted.facts)


def load(runs: Sequence[Run]) -> Domain | None:
    """Return the domain of a system, from its evaluation on validation; None if there is none of its weights."""
    return domain.load(folder_of(runs[0].folder, len(runs), "validation") / domain.FILE, runs)


def corpus_facts(elements: str, metas: Sequence[ElementMeta]) -> dict[str, Any]:
    """Return what is known about training data: its size, tiers and methods, and whether it is the built-in corpus."""
    methods = sorted({meta.method for meta in metas if meta.label})
    return {
        "elements": elements,
        "clips": len({meta.source for meta in metas}),
        "identities": len({meta.identities[0] for meta in metas}),
        "windows": len(metas),
        "tiers": sorted({meta.tier for meta in metas}),
        "methods": methods,
        "built_in": bool(methods) and BUILT_IN_METHODS.issuperset(methods),
    }


def audio_facts(store: Store, metas: Sequence[ElementMeta]) -> dict[str, Any]:
    """Return the 5 %, 50 % and 95 % quantile of the bandwidth in Hz and of the level in dB of training windows.

    They show the codec and the recordings. Empty for a store without waveforms.
    """
    if not store.has_waveforms:
        return {}
    step = max(1, len(metas) // _HEARD)
    audio = [store.read(meta.key, waveform=True, mel=False).waveform for meta in metas[::step]]
    return {
        "bandwidth_hz": np.quantile([spectral_edge(one, SAMPLE_RATE) for one in audio], _QUANTILES).tolist(),
        "level_db": np.quantile([loudness(one) for one in audio], _QUANTILES).tolist(),
    }


def summarise(clips: ScoredClips, known: Domain, main: str, fitted: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the `domain` of report.json: how far the clips are from the training data, and how errors grow with that.

    Errors are those of the main score at the threshold that was fitted on validation, or at 0.5 without one.
    """
    threshold = fitted["eer_threshold"][0] if fitted else 0.5
    overall = known.overall(clips.distances, clips.short)
    calibration = combined(known.calibration, known.calibration)
    called = clips.scores[main][0] >= threshold
    member = np.searchsorted([*np.percentile(calibration, _RANGES[1:]), 1.0], overall, side="left")
    titles = [f"{low:g} to {high:g} %" for low, high in zip(_RANGES, (*_RANGES[1:], 100.0), strict=True)]
    return {
        "facts": dict(known.facts),
        "branches": list(clips.distances),
        "calibration_clips": len(calibration),
        "outside": float((overall > 1).mean()),
        "tiers": {
            tier: _placed(known, clips.where(clips.tier == tier)) for tier in TIERS if (clips.tier == tier).any()
        },
        "threshold": threshold,
        "ranges": [
            {"distance": title, **_errors(clips.label[own], clips.scores[main][0][own], called[own])}
            for number, title in enumerate([*titles, "out of domain"])
            if (own := member == number).any()
        ],
        "curve": _curve(overall, called != clips.label),
    }


def _placed(known: Domain, clips: ScoredClips) -> dict[str, Any]:
    """Return the share of clips out of domain, and the median of the clips in each branch and overall, placed among
    the calibration clips."""
    median = {branch: float(np.median(values)) for branch, values in clips.distances.items()}
    outside = float((known.overall(clips.distances, clips.short) > 1).mean())
    return {"clips": len(clips), "outside": outside, "median": known.place(median, short=bool(clips.short.all()))}


def _errors(labels: np.ndarray, scores: Floats, called: np.ndarray) -> dict[str, Any]:
    """Return the errors of clips (N,); None for a class that is not there."""
    real, fake = labels == 0, labels == 1
    return {
        "clips": len(labels),
        "fakes": int(fake.sum()),
        "false_alarms": float(called[real].mean()) if real.any() else None,
        "misses": float(1 - called[fake].mean()) if fake.any() else None,
        "auc": roc.auc(labels, scores) if real.any() and fake.any() else None,
    }


def _curve(distance: Floats, wrong: np.ndarray) -> dict[str, list[float]]:
    """Return the share of errors over distance, in bins of equal size: `distance` (the median) and `error`."""
    count = max(1, min(_BINS, len(distance) // _IN_BIN))
    bins = np.array_split(np.argsort(distance, kind="stable"), count)
    return {
        "distance": [float(np.median(distance[own])) for own in bins],
        "error": [float(wrong[own].mean()) for own in bins],
    }
