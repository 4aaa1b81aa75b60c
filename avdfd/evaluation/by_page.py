"""Judges detectors page by page: each held-out page against itself, then the mean over pages.

Clips of one page share more than how they were made (codec, level, speakers, system), so clips are compared within
their page only, and pages are what intervals resample.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from avdfd.config import PretrainConfig
from avdfd.datasets.loaders import ElementSet, split_metas
from avdfd.elements import ElementMeta, ElementStore
from avdfd.evaluation.audit.files import measure
from avdfd.evaluation.audit.probes import probe_auc
from avdfd.inference.scoring import load_run, score
from avdfd.metrics import bootstrap, roc
from avdfd.splits.folds import fold_configs

ALL = "all"
"""The probe that sees all cues at once."""


@dataclass(frozen=True)
class Judged:
    """A clip with the score that the detector of its fold gave it; only scores within a page are compared."""

    source: str
    base: str
    page: str
    method: str
    label: int
    score: float


def judge_folds(
    cfg: PretrainConfig, folder: Path, root: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """`judge` for the run of each fold on the pages that are new to it; and `probe`, if the root of the files is given.

    Raises UserError for a run that is not there.
    """
    store, clips, splits = ElementStore(cfg.data.elements), [], []
    for fold in fold_configs(cfg, folder):
        run = load_run(Path(fold.runs) / fold.name, cfg.device)
        train, test = (split_metas(fold, store, split) for split in ("train", "test"))
        scores = score(run, ElementSet(store, test, run.inputs), workers=cfg.data.workers)
        clips += clips_of(test, scores.branch["audio"])
        splits.append((train, test))
    if root is None:
        return judge(clips), None
    sources = {meta.source for metas in splits for part in metas for meta in part}
    return judge(clips), probe({source: measure(root / source) for source in sorted(sources)}, splits)


def clips_of(metas: Sequence[ElementMeta], scores: Sequence[float] | np.ndarray) -> list[Judged]:
    """Elements with their scores (N,) as clips, each with the mean over its windows."""
    windows: dict[str, list[int]] = defaultdict(list)
    for position, meta in enumerate(metas):
        windows[meta.source].append(position)
    clips = []
    for source, positions in windows.items():
        meta, mean = metas[positions[0]], float(np.mean([scores[position] for position in positions]))
        clips.append(Judged(source, meta.base, meta.page, meta.method, meta.label, mean))
    return clips


def judge(clips: Sequence[Judged], *, replicates: int = 1000, seed: int = 0) -> dict[str, Any]:
    """AUC and EER of each page, and in how many pairs the fake is above its own original (ties count half).

    `mean` has the means over pages with 95 % intervals, from pages drawn with replacement; `methods` the AUC of each
    method's fakes against the real clips of their pages, averaged over these. Pages with one class only say nothing.
    """
    by_page: dict[str, list[Judged]] = defaultdict(list)
    for clip in clips:
        by_page[clip.page].append(clip)
    pages, methods = {}, defaultdict(list)
    for page, members in sorted(by_page.items()):
        if len({clip.label for clip in members}) < 2:
            continue
        labels, scores = [clip.label for clip in members], [clip.score for clip in members]
        pages[page] = {
            "clips": len(members),
            "fakes": sum(labels),
            "auc": roc.auc(labels, scores),
            "eer": roc.eer(labels, scores),
            "pairs": len(_pairs(members)),
            "pair_accuracy": float(np.mean(_pairs(members))) if _pairs(members) else None,
        }
        reals = [clip.score for clip in members if clip.label == 0]
        for method in {clip.method for clip in members if clip.label == 1}:
            fakes = [clip.score for clip in members if clip.label == 1 and clip.method == method]
            methods[method].append((len(fakes), roc.auc([0] * len(reals) + [1] * len(fakes), [*reals, *fakes])))
    values = {name: [page[name] for page in pages.values()] for name in ("auc", "eer", "pair_accuracy")}
    return {
        "pages": pages,
        "mean": {name: _mean(found, replicates, seed) for name, found in values.items()},
        "methods": {
            name: {"fakes": sum(count for count, _ in found), "auc": float(np.mean([auc for _, auc in found]))}
            for name, found in sorted(methods.items())
        },
    }


def probe(
    cues: Mapping[str, Mapping[str, Any]],
    folds: Sequence[tuple[Sequence[ElementMeta], Sequence[ElementMeta]]],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """What shortcuts alone would tell under the same protocol: `judge` for a classifier of each cue, and of all.

    `cues` has the cues of each source (`avdfd.evaluation.audit.files`), of which the numbers are used, `folds` the
    training and the tested elements of each fold. The classifiers are those of `avdfd.evaluation.audit.probes`, fitted
    on the training clips of a fold. `within` tells of each page what the cue would tell to somebody fitted on other
    utterances of that very page: a cue that only this page has is found there, though no training fold could teach it.
    """
    names = sorted(name for name, value in next(iter(cues.values())).items() if isinstance(value, float))
    tested = {meta.source: meta for _, test in folds for meta in test}
    result = {}
    for name in [*names, ALL]:
        chosen = names if name == ALL else [name]

        def columns(metas: Sequence[ElementMeta], chosen: Sequence[str] = chosen) -> np.ndarray:
            return np.array([[cues[meta.source][cue] for cue in chosen] for meta in metas])

        clips: list[Judged] = []
        for train, test in folds:
            classify = LogisticRegression(max_iter=1000)
            model = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), classify)
            model.fit(columns(train), [meta.label for meta in train])
            clips += clips_of(test, model.decision_function(columns(test)))
        result[name] = judge(clips, replicates=replicates, seed=seed)
        if name != ALL:
            result[name]["within"] = _within([*tested.values()], {source: cues[source][name] for source in tested})
    return result


def as_text(judged: Mapping[str, Any], probes: Mapping[str, Any] | None = None) -> str:
    """The tables as lines."""
    width = max(len(name) for name in [*judged["pages"], *judged["methods"]])
    lines = [f"{'page':<{width}}  clips  fakes  AUC    EER    pairs  above their original"]
    for name, page in judged["pages"].items():
        pair = "" if page["pair_accuracy"] is None else f"{page['pair_accuracy']:.3f}"
        lines.append(
            f"{name:<{width}}  {page['clips']:<5}  {page['fakes']:<5}  {page['auc']:.3f}  {page['eer']:.3f}  "
            f"{page['pairs']:<5}  {pair}"
        )
    auc, eer, pairs = (_as_interval(judged["mean"][name]) for name in ("auc", "eer", "pair_accuracy"))
    lines += ["", f"mean over pages: AUC {auc}, EER {eer}, above their original {pairs}"]
    lines += ["", f"{'method':<{width}}  fakes  AUC"]
    lines += [f"{name:<{width}}  {m['fakes']:<5}  {m['auc']:.3f}" for name, m in judged["methods"].items()]
    if probes:
        lines += ["", f"{'shortcut probe':<{width}}  AUC over pages        within a page, at most"]
        for name, found in probes.items():
            worst = max(found.get("within", {}).items(), key=lambda item: item[1], default=None)
            within = "" if worst is None else f"{worst[1]:.3f} ({worst[0]})"
            lines.append(f"{name:<{width}}  {_as_interval(found['mean']['auc'])}  {within}".rstrip())
    return "\n".join(lines)


def _pairs(clips: Sequence[Judged]) -> list[float]:
    """For every fake whose original is there: 1 if it is above it, 0 if below, one half if level."""
    scores = {clip.source: clip.score for clip in clips if clip.label == 0}
    fakes = [clip for clip in clips if clip.label == 1 and clip.base in scores]
    return [float(0.5 + 0.5 * np.sign(clip.score - scores[clip.base])) for clip in fakes]


def _mean(values: Sequence[float | None], replicates: int, seed: int) -> dict[str, Any]:
    """Mean over the pages that have the value, with its interval; None without such a page."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"value": None, "interval": None, "pages": 0}
    draws = np.random.default_rng(seed).integers(len(known), size=(replicates, len(known)))
    interval = bootstrap.interval(known[draws].mean(axis=1))
    return {"value": float(known.mean()), "interval": interval, "pages": len(known)}


def _within(metas: Sequence[ElementMeta], cue: Mapping[str, float]) -> dict[str, float]:
    """Page -> AUC of a cue on utterances of the page that it was not fitted on; small pages are left out."""
    by_page: dict[str, list[ElementMeta]] = defaultdict(list)
    for meta in metas:
        by_page[meta.page].append(meta)
    found = {}
    for page, members in sorted(by_page.items()):
        try:
            values = [cue[meta.source] for meta in members]
            found[page] = probe_auc(values, [meta.label for meta in members], [meta.base for meta in members])
        except ValueError:  # one class, or one utterance
            continue
    return found


def _as_interval(mean: Mapping[str, Any]) -> str:
    if mean["value"] is None:
        return "-"
    interval = "" if mean["interval"] is None else " [{:.3f}, {:.3f}]".format(*mean["interval"])
    return f"{mean['value']:.3f}{interval}"
