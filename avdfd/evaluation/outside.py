"""Evaluation of a system of which only the scores are known, on the clips of an element store: no model is loaded.

The clips are those of a split, as for a run; a clip without a score takes no part and is listed, and so is a row that
is no score of these clips. What needs the model, its windows or its training is not in such a report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.baselines.open_store import open_vfd
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, ensure_writable, sha256_of
from avdfd.core.revision import git_revision
from avdfd.core.tiers import FAKES, RVRA, RVRA_V
from avdfd.corpora.left_out import LeftOut
from avdfd.corpora.video_list import read_sources
from avdfd.datasets.split_elements import vocoded_elements
from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.elements.layout import left_out_by_truth
from avdfd.elements.protocol import Store
from avdfd.evaluation import score_windows, vocoded
from avdfd.evaluation.audit.audits import Part
from avdfd.evaluation.evaluate import Evaluation, Request, audit, check_columns
from avdfd.evaluation.grouped_metrics import coverage, fit_on_validation, grouped_metrics
from avdfd.evaluation.listed import elements_of, predicted
from avdfd.evaluation.localisation import localise
from avdfd.evaluation.pooling import DOMAIN, per_window, pool
from avdfd.evaluation.protocol import fitted_tiers
from avdfd.evaluation.score_file import Scored, ScoreFile, read_scores
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.evaluation.stored import OF_FILES, StoredEvaluation, fitted_on_validation, folder_of, read, scores_of_windows
from avdfd.evaluation.worst_errors import gallery
from avdfd.inference.scoring import Scores
from avdfd.splits.lists import SPLITS, assign, check_classes, of_tiers, read_splits, take, without_elements

MAIN = "score"
"""Name of the scores in tables and files."""
KIND = "scores"


class _Clips(NamedTuple):
    """The elements to judge."""

    store: Store
    metas: Sequence[ElementMeta]
    elements: str
    splits: str | None
    others: dict[str, Sequence[ElementMeta]]
    """Those of the other splits, for the audit."""
    absent: str
    vocoded: Sequence[ElementMeta]
    """Vocoded real clips of the split, which are kept apart."""


def judge(request: Request, file: ScoreFile, splits: str | None = None) -> Evaluation:
    """Evaluate the scores of a file; `request.run` is the folder for the report, `request.against` are evaluated runs.

    Without `elements` and `splits`, the clips are those of the first run of `against`. Raises UserError for a folder of
    a trained run, for scores that cannot be read, and for other clips than those of `against`.
    """
    # ---- clips and scores
    run = Path(request.run)
    if (run / BEST).exists():
        raise UserError(f"{run}: is a trained run; name another folder for the report of {file.path} with --run")
    against = [read(names, request.split, request.name) for names in request.against]
    check_columns([MAIN, *(one.name for one in against)])
    folder = folder_of(run, 1, request.name or request.split)
    chosen = _chosen(request, splits, against)
    listed = read_sources(request.csv, request.videos or request.probes) if request.csv else None
    judged = chosen.metas if listed is None else elements_of(listed, chosen.metas)
    check_classes(judged, request.split, chosen.elements)
    scored = read_scores(file, coded(chosen.store.metas, "source").values)
    if scored.window_column is None and request.windows != "mean":
        raise UserError(f"--windows: {file.path} has one score per clip, so there are no windows to pool")
    metas = _with_scores(judged, scored)
    check_classes(metas, request.split, str(file.path))
    vocoded_metas = _with_scores(chosen.vocoded, scored)
    kept_apart = _sources(vocoded_metas)
    lines = _left_out(judged, kept_apart, scored, file.path, request.split)
    ensure_writable(folder)

    # ---- the clips with their scores, and their windows if the file has scores of these
    clips, by_window, own_windows = _pooled(metas, scored, request.windows)
    windows = per_window(metas, by_window)
    for other in against if own_windows else ():
        theirs = scores_of_windows(other, windows)
        windows.scores.update({} if theirs is None else {other.name: theirs})
    for other in against:
        clips.scores[other.name] = _on_the_same(clips, other)

    # ---- an audit that cannot be made is refused before the metrics, which take longer
    audited = {}
    if request.audit or request.probes:
        parts: dict[str, Part] = {request.split: (chosen.store, judged)}
        parts |= {name: (chosen.store, other) for name, other in chosen.others.items()}
        audited = {"audit": audit(parts, chosen.store, request, request.workers or 0)}

    # ---- the report
    about = _describe(request, file, scored, chosen, judged, against) | {
        "left_out": _counts(judged, kept_apart, scored, lines)
    }
    # As for a run, validation has no errors at thresholds that were fitted on itself.
    fitted = {} if request.split in ("train", "validation") else _fitted(run, about, against)
    result = about | {"fitted": fitted}
    drawn = {"replicates": request.bootstrap, "seed": request.seed}
    result |= grouped_metrics(clips, MAIN, [MAIN], fitted, windows=windows if own_windows else None, **drawn)
    if request.split == "validation":
        trained = {one.name: fitted_tiers(one.report["protocol"]) for one in against}
        result["fitted"] = fitted = fit_on_validation(clips, {MAIN: [*FAKES], **trained})
    if len(vocoded_metas):
        of_them, _, _ = _pooled(vocoded_metas, scored, request.windows)
        result["vocoded"] = vocoded.summarise(of_them, result["overall"], fitted, **drawn)
    result["coverage"] = coverage(clips.label, clips.scores[MAIN], fitted.get(MAIN))
    result["localisation"] = localise(metas, windows, by_window, **drawn) if own_windows else None
    result["voices"] = None
    root = request.videos or request.probes
    result["failures"] = gallery(clips, windows, chosen.store, metas, MAIN, root)
    result |= audited
    done = Evaluation(folder, result, clips, windows if own_windows else None, left_out=lines)
    if listed is None:
        return done
    rows, result["listed"] = predicted(listed, clips, MAIN)
    return done._replace(prediction=rows)


def _chosen(request: Request, splits: str | None, against: Sequence[StoredEvaluation]) -> _Clips:
    """Return the elements of the split. Raises UserError if it is not known which, or if they lack a class."""
    elements = request.elements or (against[0].report["elements"] if against else None)
    if elements is None:
        raise UserError("--scores: name the clips by --elements, or by --against and a run evaluated on them")
    if splits is None and against and request.elements is None:
        splits = against[0].report["config"]["data"]["splits"]
    store: Store = open_vfd(elements) or ElementStore(elements, whole=None)
    tiers = {RVRA.name, *(request.tiers or FAKES)}
    if request.split == "all":
        return _Clips(store, of_tiers(store.metas, tiers), elements, splits, {}, "", vocoded_elements(store, "", "all"))
    if splits is None:
        raise UserError(f"--scores: name the lists that --split {request.split} is of with --splits")
    lists = read_splits(splits)
    members = {name: take(store.metas, rows) for name, rows in assign(store.metas, lists).items()}
    others = {name: members[name] for name in SPLITS if name != request.split}
    absent = without_elements(store.metas, lists)
    kept_apart = of_tiers(members[request.split], {RVRA_V.name})
    return _Clips(store, of_tiers(members[request.split], tiers), elements, splits, others, absent, kept_apart)


def _with_scores(metas: Sequence[ElementMeta], scored: Scored) -> Sequence[ElementMeta]:
    codes, sources = coded(metas, "source")
    return take(metas, np.flatnonzero(np.array([source in scored.scores for source in sources], bool)[codes]))


def _pooled(metas: Sequence[ElementMeta], scored: Scored, rule: str) -> tuple[ScoredClips, Scores, bool]:
    """Return the clips, the scores of the store's windows, and whether the file has these; else they are the clip's."""
    keys = [meta.key for meta in metas]
    values = score_windows.of_windows(metas, scored)
    if values is not None:
        by_window = Scores(keys, {MAIN: values})
        return pool(metas, by_window, rule), by_window, True
    by_window = Scores(keys, {MAIN: score_windows.of_clips(metas, scored, rule)})
    # Those of a clip's windows are equal, so their largest is exactly the clip's.
    return pool(metas, by_window, "max"), by_window, False


def _sources(metas: Sequence[ElementMeta]) -> set[str]:
    codes, sources = coded(metas, "source")
    return {sources[code] for code in np.unique(codes).tolist()}


def _left_out(
    judged: Sequence[ElementMeta], vocoded: set[str], scored: Scored, path: Path, split: str
) -> list[LeftOut]:
    """Return the clips without a score and the rows that are not one of these clips, by name."""
    ours = _sources(judged)
    lines = [LeftOut(name, f"no score: its cell is empty in {place}") for name, place in scored.empty.items()]
    lines += [LeftOut(name, f"no score in {path}") for name in ours - scored.scores.keys() - scored.empty.keys()]
    others = scored.scores.keys() - ours - vocoded
    lines += [LeftOut(name, f"has a score, but is not judged in '{split}'") for name in others]
    lines += [LeftOut(name, "has a score, but is no clip of the element store") for name in scored.unknown]
    return sorted(lines)


def _counts(
    judged: Sequence[ElementMeta], vocoded: set[str], scored: Scored, lines: Sequence[LeftOut]
) -> dict[str, int]:
    """Return what became of clips and rows: `scored` and `without_score` add up to the clips, and `scored`, `vocoded`,
    `empty`, `not_judged` and `unknown` to the files that are `named` in the `rows`."""
    ours = _sources(judged)
    with_score = len(ours & scored.scores.keys())
    return {
        "clips": len(ours),
        "scored": with_score,
        "without_score": len(ours) - with_score,
        "rows": scored.rows,
        "named": scored.named,
        "empty": len(scored.empty),
        "vocoded": len(vocoded),
        "not_judged": len(scored.scores) - with_score - len(vocoded),
        "unknown": len(scored.unknown),
        "listed": len(lines),
    }


def _on_the_same(clips: ScoredClips, other: StoredEvaluation) -> np.ndarray:
    """Return the scores (S, N) of another system on these clips. Raises UserError unless it has the same clips."""
    place = {source: row for row, source in enumerate(other.clips.source.tolist())}
    absent = [source for source in clips.source.tolist() if source not in place]
    if absent:
        raise UserError(
            f"{other.folder}: has no score of {len(absent)} of these clips, e.g. {absent[0]}; evaluate both on the "
            "same elements and split"
        )
    rows = [place[source] for source in clips.source.tolist()]
    for name in ("tier", "identity"):
        differ = getattr(other.clips, name)[rows] != getattr(clips, name)
        if differ.any():
            raise UserError(
                f"{other.folder}: the {name} of {clips.source[differ.argmax()]} is another one in the elements; "
                "evaluate both on the same elements"
            )
    return other.clips.scores[other.name][:, rows]


def _describe(
    request: Request,
    file: ScoreFile,
    scored: Scored,
    chosen: _Clips,
    judged: Sequence[ElementMeta],
    against: Sequence[StoredEvaluation],
) -> dict[str, Any]:
    """Return the provenance part of report.json."""
    codes, tiers = coded(judged, "tier")
    present = {tiers[code] for code in np.unique(codes).tolist()} - {RVRA.name}
    columns = dict(zip(("file_column", "score_column"), scored.columns, strict=True))
    how = {"file": str(file.path), **columns, "higher_is_real": file.higher_is_real, "scale": file.scale}
    how |= {"window_column": scored.window_column}
    known = {"folder": request.run, "checkpoint_sha256": "", "scores_sha256": sha256_of(file.path), **how}
    return {
        "run": request.run,
        "kind": KIND,
        "runs": [{**known, "seed": seed} for seed in scored.seeds],
        "protocol": {
            "name": "training not known",
            "lists": str(chosen.splits),
            "lists_protocol": None,
            "left_out": None,
            "trained_tiers": [],
            "judged_tiers": sorted(present),
            "new_tiers": [],
            "new_kinds": [],
        },
        "against": {one.name: {key: one.report[key] for key in ("kind", "runs", "protocol")} for one in against},
        "split": request.split,
        "elements": chosen.elements,
        "left_out_by_truth": left_out_by_truth(chosen.store.root),
        "without_elements": chosen.absent,
        "pooling": {"windows": request.windows if scored.window_column else OF_FILES, "domain": DOMAIN},
        "git": git_revision(),
        "device": "none",
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "config": {"data": {"elements": chosen.elements, "splits": chosen.splits}, "scores": how},
    }


def _fitted(run: Path, about: dict[str, Any], against: Sequence[StoredEvaluation]) -> dict[str, Any]:
    """Return what validation has fitted: for the scores, that of the same folder on the same scale; else the runs'."""
    path = folder_of(run, 1, "validation") / "report.json"
    found = {name: values for name, values in fitted_on_validation(path, about).items() if name == MAIN}
    for one in against:
        theirs = one.report["fitted"].get(one.report["main"])
        found |= {} if theirs is None else {one.name: theirs}
    return found
