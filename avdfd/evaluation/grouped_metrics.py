"""Metrics of scored clips, overall and by group: tier, method, page, race and gender.

Fakes of a tier or method are compared with all real clips (RVRA); a page, or a group of identities, with its own real
clips. Tiers and pages have the metrics of every branch, the other groups those of the main branch. The result is the
content of report.json, plots included as numbers; `avdfd.report` renders it.

    N clips   S runs of one system
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from avdfd.core.tiers import FAKES, RVRA, TIERS
from avdfd.evaluation.carriers import carried, less_in_sync
from avdfd.evaluation.pages import page_metrics
from avdfd.evaluation.scored_clips import ScoredClips, Texts
from avdfd.metrics import bootstrap, calibration, roc, selective
from avdfd.metrics.paired import paired_auc
from avdfd.metrics.roc import Floats
from avdfd.metrics.selective import Band

TUNED = "balanced_accuracy_at_validation_eer"
FALSE_ALARMS, MISSES = "false_alarms_at_validation_eer", "misses_at_validation_eer"
MIN_IDENTITIES = 10
MIN_CLIPS = 10
"""Fewest identities, and clips of each class, of a group with metrics: in a smaller one, single clips decide."""
GROUPS = {"race": ("race",), "gender": ("gender",), "race and gender": ("race", "gender")}
DURATION = "duration"
"""Group of clips by whether they are shorter than a window; only where some are and others are not."""

_HISTOGRAM_BINS = 25
DOTS = 200
_POINTS = 400  # of a ROC curve; a figure cannot resolve more

Fitted = Mapping[str, Mapping[str, Any]]
"""Branch -> what was fitted on validation, as `fit_on_validation` returns it."""


def fit_on_validation(clips: ScoredClips, trained_tiers: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Return the EER threshold, the temperature and the bands of each branch and run, fitted on validation clips.

    `bands` has, for each share of errors allowed, the ends of the band of uncertain scores.

    Fakes count only if the branch's system was trained on their tier (`trained_tiers`), so that a tier that is new to
    the system has no influence on its threshold. A branch without such clips is left out.
    """
    fitted = {}
    for branch, scores in clips.scores.items():
        known = np.isin(clips.tier, [RVRA.name, *trained_tiers[branch]])
        labels = clips.label[known]
        if len(np.unique(labels)) < 2:
            continue
        fitted[branch] = {
            "eer_threshold": [roc.eer_threshold(labels, one[known]) for one in scores],
            "temperature": [calibration.fit_temperature(labels, one[known]) for one in scores],
            "bands": {
                f"{allowed:g}": [[*selective.fit_band(labels, one[known], allowed)] for one in scores]
                for allowed in selective.ALLOWED
            },
            "clips": len(labels),
            "prevalence": float(labels.mean()),
        }
    return fitted


def coverage(labels: np.ndarray, scores: Floats, fitted: Mapping[str, Any] | None) -> list[dict[str, float]]:
    """Return what the bands fitted on validation decide of clips (N,), by the share of errors that they allow there.

    A mean over runs (S, N). Empty without bands.
    """
    bands = {} if fitted is None else fitted.get("bands", {})  # reports of earlier versions have none
    found = []
    for allowed, of_runs in bands.items():
        runs = [selective.select(labels, one, Band(*ends)) for one, ends in zip(scores, of_runs, strict=True)]
        means = np.mean(runs, axis=0).tolist()
        found.append({"allowed": float(allowed), **dict(zip(selective.Selected._fields, means, strict=True))})
    return found


def grouped_metrics(
    clips: ScoredClips,
    main: str,
    branches: Sequence[str],
    fitted: Fitted,
    *,
    windows: ScoredClips | None = None,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return the part of report.json that follows from the scores.

    `branches` are those of the evaluated system and `main` is its main one; `clips` may also hold the scores of other
    systems. `fitted` comes from validation. `windows` are the windows of the same clips, each with its own label, for
    metrics without pooling; a system may have no scores of windows.
    """

    def section(chosen: ScoredClips, names: Iterable[str] | None = None) -> dict[str, Any]:
        names = chosen.scores if names is None else names
        measured = {name: _measure(chosen, chosen.scores[name], fitted.get(name), replicates, seed) for name in names}
        return _size(chosen) | measured

    def paired(chosen: ScoredClips, other: str) -> dict[str, Any]:
        return paired_auc(
            chosen.label, chosen.scores[main], chosen.scores[other], chosen.identity,
            same_runs=other in branches, replicates=replicates, seed=seed,
        )  # fmt: skip

    tiers = dict(tier_parts(clips))
    of_tiers = {name: section(part) for name, part in tiers.items()}
    return {
        "branches": list(clips.scores),
        "main": main,
        "overall": section(clips),
        "tiers": of_tiers,
        "carried": carried(of_tiers, [name for name in branches if name != main]),
        "less_in_sync": less_in_sync({"overall": clips, **tiers}, replicates=replicates, seed=seed),
        "methods": {name: section(part, [main]) for name, part in _method_parts(clips)},
        "groups": {name: _groups(clips, names, main, section) for name, names in _group_names(clips)},
        "pages": _pages(clips, replicates, seed),
        "windows": section(windows) if windows is not None else None,
        "window_groups": {name: section(part) for name, part in _window_groups(windows)},
        "paired": {
            other: {name: paired(part, other) for name, part in {"overall": clips, **tiers}.items()}
            for other in clips.scores
            if other != main
        },
        "calibration": {
            branch: _calibration(clips.label, scores, fitted.get(branch)) for branch, scores in clips.scores.items()
        },
        "curves": {
            "roc_branches": {name: _roc_points(clips.label, scores) for name, scores in clips.scores.items()},
            "roc_tiers": {name: _roc_points(part.label, part.scores[main]) for name, part in tiers.items()},
            "distributions": {name: _histogram(part.scores[main]) for name, part in _by_tier(clips)},
        },
        "weight_audio": {},
        **{f"weight_{branch}": {name: _weights(part.weights[branch]) for name, part in _by_tier(clips)}
           for branch in clips.weights},
    }  # fmt: skip


def _pages(clips: ScoredClips, replicates: int, seed: int) -> dict[str, Any] | None:
    """Return the page metrics of every branch; None if no page is known."""
    found = {name: page_metrics(clips, name, replicates=replicates, seed=seed) for name in clips.scores}
    return None if None in found.values() else found


def tier_parts(clips: ScoredClips) -> Iterator[tuple[str, ScoredClips]]:
    """Yield the clips of each fake tier together with the real clips, in the order of TIERS."""
    for name in FAKES:
        if (clips.tier == name).any():
            yield name, clips.where(np.isin(clips.tier, (RVRA.name, name)))


def _window_groups(windows: ScoredClips | None) -> Iterator[tuple[str, ScoredClips]]:
    """Yield the windows of each fake tier with those of real clips, then the fake windows of each kind with all real.

    A kind is the fake modality of the window: its audio alone, its video alone, or both; both also if it is not known.
    """
    if windows is None or windows.fake_seconds is None:
        return
    for name, part in tier_parts(windows):
        if part.label.any():
            yield name, part
    audio, video = (windows.fake_seconds > 0).T
    for name, fakes in (("audio alone", audio & ~video), ("video alone", video & ~audio), ("both", audio & video)):
        if fakes.any():
            yield f"fake {name}", windows.where(fakes | (windows.label == 0))


def _by_tier(clips: ScoredClips) -> Iterator[tuple[str, ScoredClips]]:
    for name in TIERS:
        if (clips.tier == name).any():
            yield name, clips.where(clips.tier == name)


def _method_parts(clips: ScoredClips) -> Iterator[tuple[str, ScoredClips]]:
    """Yield the fakes of each tier and method together with the real clips."""
    real = clips.tier == RVRA.name
    for name in TIERS:
        fakes = (clips.tier == name) & ~real
        for method in sorted(set(clips.method[fakes])):
            yield f"{name} {method}".rstrip(), clips.where(real | (fakes & (clips.method == method)))


def _group_names(clips: ScoredClips) -> Iterator[tuple[str, Texts]]:
    """Yield each kind of group and the name (N,) of every clip's group."""
    for kind, columns in GROUPS.items():
        facts = zip(*(clips.facts[column] for column in columns), strict=True)
        yield kind, np.array([", ".join(values) for values in facts], object)
    if 0 < clips.short.sum() < len(clips):
        yield DURATION, np.where(clips.short, "shorter than a window", "a window or more").astype(object)


def _groups(clips: ScoredClips, names: Texts, main: str, section: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return the metrics of each group of clips, and the group with the lowest AUC among the large enough ones."""
    members: dict[str, Any] = {}
    for name in sorted(set(names)):
        part = clips.where(names == name)
        size = _size(part)
        fakes, reals = size["fake_clips"], size["clips"] - size["fake_clips"]
        small = size["identities"] < MIN_IDENTITIES or min(fakes, reals) < MIN_CLIPS
        members[name] = size | {"too_small": True} if small else section(part, [main]) | {"too_small": False}
    ranked = [name for name, part in members.items() if not part["too_small"]]
    worst = min(ranked, key=lambda name: members[name][main]["auc"]) if len(ranked) > 1 else None
    return {"members": members, "worst": worst}


def _size(clips: ScoredClips) -> dict[str, Any]:
    return {
        "clips": len(clips),
        "fake_clips": int(clips.label.sum()),
        "identities": len(set(clips.identity)),
        "windows": int(clips.windows.sum()),
        "short_clips": int(clips.short.sum()),
        "prevalence": float(clips.label.mean()),
    }


def _measure(
    clips: ScoredClips, scores: Floats, fitted: Mapping[str, Any] | None, replicates: int, seed: int
) -> dict[str, Any]:
    """Return the metrics of one branch (S, N) with intervals; those that need validation only if it was evaluated."""
    calibrated = _calibrated(scores, fitted)

    def statistic(weights: Floats | None, run: int) -> dict[str, Any]:
        curve = roc.roc(clips.label, scores[run], weights)
        thresholds = {"balanced_accuracy": 0.5} | ({TUNED: fitted["eer_threshold"][run]} if fitted else {})
        values = roc.all_metrics(curve, thresholds)
        if fitted:
            values[FALSE_ALARMS], values[MISSES] = roc.errors_at(curve, thresholds[TUNED])
        values |= calibration.proper_scores(clips.label, scores[run], weights)
        if calibrated is not None:
            after = calibration.proper_scores(clips.label, calibrated[run], weights)
            values |= {f"{name}_calibrated": value for name, value in after.items()}
        return values

    result = bootstrap.measure(
        statistic, clips.label, clips.identity, runs=len(scores), replicates=replicates, seed=seed
    )
    result["ece"] = float(np.mean([calibration.ece(clips.label, one) for one in scores]))
    if calibrated is not None:
        result["ece_calibrated"] = float(np.mean([calibration.ece(clips.label, one) for one in calibrated]))
    return result


def _calibrated(scores: Floats, fitted: Mapping[str, Any] | None) -> Floats | None:
    """Return the scores at the temperatures fitted on validation; None unless every run has one."""
    if fitted is None or None in fitted["temperature"]:
        return None
    return np.stack([calibration.at_temperature(*pair) for pair in zip(scores, fitted["temperature"], strict=True)])


def _calibration(labels: np.ndarray, scores: Floats, fitted: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the reliability curve before and after scaling by the temperature fitted on validation."""
    calibrated, y = _calibrated(scores, fitted), np.tile(labels, len(scores))

    def curve(values: Floats) -> dict[str, Any]:
        return calibration.as_json(calibration.reliability(y, values.ravel(), runs=len(scores)))

    return {"before": curve(scores), "after": None if calibrated is None else curve(calibrated)}


def _roc_points(labels: np.ndarray, scores: Floats) -> dict[str, Any]:
    """Return a ROC curve as points. Several runs, or many clips, are reduced to a mean at even steps along it."""
    curves = [roc.roc(labels, one) for one in scores]
    if len(curves) == 1 and len(curves[0].fpr) <= _POINTS:
        fpr, tpr = curves[0].fpr, curves[0].tpr
    else:
        steps = np.linspace(0, 2, _POINTS + 1)
        fpr = np.mean([np.interp(steps, c.fpr + c.tpr, c.fpr) for c in curves], axis=0)
        tpr = np.mean([np.interp(steps, c.fpr + c.tpr, c.tpr) for c in curves], axis=0)
    area = float(np.mean([roc.area(curve) for curve in curves]))
    return {"auc": area, "fpr": fpr.round(6).tolist(), "tpr": tpr.round(6).tolist()}


def _histogram(scores: Floats) -> list[float]:
    """Return the number of clips in each of the even bins from 0 to 1, the mean over runs."""
    return (np.histogram(scores, _HISTOGRAM_BINS, (0, 1))[0] / len(scores)).tolist()


def _weights(values: Floats) -> dict[str, Any]:
    """Return the quartiles and the values for a dot plot."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"low": low, "median": median, "high": high, "values": dots(values)}


def dots(values: Floats) -> list[float]:
    """Return the values in rising order; of many values, as many even quantiles as a figure can show."""
    return np.quantile(values, np.linspace(0, 1, min(len(values), DOTS))).round(6).tolist()
