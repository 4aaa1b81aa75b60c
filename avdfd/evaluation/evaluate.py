"""Evaluate a run on a split: score its elements, pool them to clips, and compute all that report.json holds.

evaluate.py and the cross-validation of baseline.py and pretrain.py call `evaluate`; `avdfd.report` renders the result.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.baselines.open_store import open_store
from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable
from avdfd.core.progress import Bar
from avdfd.core.revision import git_revision
from avdfd.core.tiers import FAKES, RVRA
from avdfd.corpora.left_out import LeftOut
from avdfd.corpora.video_list import read_sources
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import absent_identities, split_metas, vocoded_elements
from avdfd.elements import ElementMeta
from avdfd.elements.layout import left_out_by_truth
from avdfd.elements.protocol import Store
from avdfd.evaluation import domain, provenance, vocoded, voices
from avdfd.evaluation.audit import audits
from avdfd.evaluation.changed import check_store, sample
from avdfd.evaluation.counterfactuals import summary
from avdfd.evaluation.frames import over_time
from avdfd.evaluation.grouped_metrics import coverage, fit_on_validation, grouped_metrics
from avdfd.evaluation.listed import elements_of, predicted
from avdfd.evaluation.localisation import localise
from avdfd.evaluation.pooling import DOMAIN, per_window, pool, stack
from avdfd.evaluation.protocol import fitted_tiers
from avdfd.evaluation.robustness import suite
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.evaluation.stored import fitted_on_validation, folder_of, system_of
from avdfd.evaluation.worst_errors import gallery
from avdfd.inference.domain import Domain, with_distances
from avdfd.inference.runs import Run, load_system, pretrained_under, trained_under
from avdfd.inference.scoring import Scores, score
from avdfd.splits.lists import check_classes, check_unseen, of_tiers


class Request(NamedTuple):
    """An evaluation to make. Every field but `run` has the default of evaluate.py's option of that name."""

    run: str
    """Run folder, or the run folders of several seeds joined by commas."""
    against: Sequence[str] = ()
    """Other systems, each named like `run`."""
    split: str = "test"
    """A split of the run's lists, or "all" for every element of a store."""
    csv: Sequence[Path] = ()
    """Lists of videos (avdfd/corpora/video_list.py) that name the clips, in place of a split: `split` is then "all"."""
    elements: str | None = None
    """Another element store than the one the run was trained on."""
    tiers: Sequence[str] = ()
    """Fake tiers to include; empty for all."""
    windows: str = "mean"
    """Rule by which the windows of a clip are pooled."""
    name: str | None = None
    """Folder of the report in `<run>/eval`; None for the split's name."""
    probes: str | None = None
    """Root of the source files, to be probed for shortcuts."""
    videos: str | None = None
    """Root of the source videos, for links to the worst errors and absolute paths in lists; None for `probes`."""
    audit: bool = False
    """Look for shortcuts and leaks in the elements."""
    robustness: Sequence[str] = ()
    """Perturbations under which clips are scored too."""
    counterfactuals: bool = False
    """Test whether the scores use the relation of audio and video."""
    clips: int = 0
    """Clips of each tier for `robustness` and `counterfactuals`; 0 for all."""
    encoders: Sequence[Path] = ()
    """Folders in which files of pretrained audio encoders are looked for, too."""
    batch_size: int = 16
    workers: int | None = None
    """Loader processes; None for as many as the run was trained with."""
    device: str = "auto"
    bootstrap: int = 1000
    """Bootstrap replicates; 0 for no intervals."""
    seed: int = 0
    """Seed of the bootstrap."""


class Evaluation(NamedTuple):
    """The outcome of an evaluation, not yet written."""

    folder: Path
    """Folder for its files: `<run>/eval/<name>`."""
    result: dict[str, Any]
    """The content of report.json."""
    clips: ScoredClips
    """The scored clips, for scores.csv."""
    windows: ScoredClips | None
    """Their windows, for windows.csv; None if only the clips have scores."""
    prediction: Sequence[Sequence[str]] = ()
    """Rows of prediction.csv, for the clips of lists."""
    frames: Mapping[str, np.ndarray] = {}
    """Arrays of frames.npz, of a system with a consistency branch (`over_time`)."""
    left_out: Sequence[LeftOut] | None = None
    """Lines of left_out.csv, for scores from a file."""
    domain: Domain | None = None
    """The run's training data, if this evaluation has described it."""


def evaluate(request: Request) -> Evaluation:
    """Evaluate the run of a request. Raises UserError if its runs, elements or lists do not allow it."""
    # ---- systems and elements
    systems = load_systems(request)
    ours, *others = systems.values()
    run = ours[0]
    folder = folder_of(run.folder, len(ours), request.name or request.split)
    ensure_writable(folder)
    elements = request.elements or run.config.data.elements
    store = open_store(elements, *(runs[0].config for runs in systems.values()), split=request.split)
    metas = chosen_elements(store, run, request)
    listed = read_sources(request.csv, request.videos or request.probes) if request.csv else None
    if listed is not None:
        metas = elements_of(listed, metas)
        check_classes(metas, "all", str(request.csv[0]))
    kept_apart = vocoded_elements(store, run.config.data.splits, request.split)
    for one in [*ours, *(one for other in others for one in other)]:
        for config in [*trained_under(one), *pretrained_under(one)]:
            check_unseen(config, metas, request.split)
            check_unseen(config, kept_apart, request.split)
    about = describe(systems, store, metas, request)
    validation = folder_of(run.folder, len(ours), "validation") / "report.json"
    before_test = request.split in ("train", "validation")
    fitted = {} if before_test else fitted_on_validation(validation, about)

    # ---- a request that cannot be met is refused before scoring; audits need no scores
    check_request(systems, store, metas, request)
    audited = {}
    if request.audit or request.probes:
        foreign = request.elements is not None
        parts = audits.parts_of(run.config, store, metas, request.split, foreign=foreign) if request.audit else {}
        audited = {"audit": audit(parts, store, request, workers_of(run, request))}

    # ---- scores
    placed = voices.placing(ours)
    learnt = domain_of(ours, request)
    judging = placed.runs
    if not isinstance(learnt, str):
        judging = [with_distances(*one) for one in zip(placed.runs, learnt.references, strict=True)]
    scores = score_systems(systems | {run.folder.name: judging}, store, metas, request)
    clips, windows = pool(metas, scores, request.windows), per_window(metas, scores)

    # ---- metrics
    replicates, seed = request.bootstrap, request.seed
    result = about | {"fitted": fitted}
    result |= grouped_metrics(
        clips, run.branches[-1], run.branches, fitted, windows=windows, replicates=replicates, seed=seed
    )  # fmt: skip
    if request.split == "validation":
        tiers = {branch: fitted_tiers(system_of(branch, about)["protocol"]) for branch in clips.scores}
        result["fitted"] = fit_on_validation(clips, tiers)
    if len(kept_apart):
        of_vocoded = pool(kept_apart, score_systems(systems, store, kept_apart, request), request.windows)
        result["vocoded"] = vocoded.summarise(
            of_vocoded, result["overall"], result["fitted"], replicates=replicates, seed=seed
        )
    main = run.branches[-1]
    result["coverage"] = coverage(clips.label, clips.scores[main], result["fitted"].get(main))
    found = None
    if isinstance(learnt, domain.Fitted):
        found = domain.calibrate(learnt, judging, store, metas, clips, **reading(run, request))
    result["domain"] = {"missing": learnt} if isinstance(learnt, str) else None
    if known := found or (learnt if isinstance(learnt, Domain) else None):
        result["domain"] = domain.summarise(clips, known, main, result["fitted"].get(main))
    result["localisation"] = localise(metas, windows, scores, replicates=replicates, seed=seed)
    result["voices"] = voices.summarise(clips, placed, replicates=replicates, seed=seed)
    result["failures"] = gallery(clips, windows, store, metas, run.branches[-1], request.videos or request.probes)

    # ---- audits, counterfactuals and perturbations
    result |= audited
    if request.counterfactuals:
        result["counterfactuals"] = relate(systems, store, metas, scores, folder, request)
    if request.robustness:
        result["robustness"] = perturb(systems, store, metas, folder, request)
    done = Evaluation(folder, result, clips, windows, frames=over_time(metas, scores), domain=found)
    if listed is None:
        return done
    rows, result["listed"] = predicted(listed, clips, run.branches[-1])
    return done._replace(prediction=rows)


def domain_of(runs: Sequence[Run], request: Request) -> Domain | domain.Fitted | str:
    """Return what the training data of a system looked like, found out on validation, or why it is not known."""
    run = runs[0]
    if request.split == "validation":
        bar = partial(Bar, desc=f"training data, {run.folder.name}", unit="batch", leave=None)
        return domain.fit_to_training(runs, progress=bar, **reading(run, request))
    if any(one.early is None for one in runs):
        return domain.NOT_TRAINED
    return domain.load(runs) or f"evaluate {request.run} on validation first, which finds out"


def load_systems(request: Request) -> dict[str, list[Run]]:
    """Return the runs of each system by the name of its first run, the evaluated system first.

    Raises UserError if two columns of the table would have the same name.
    """
    loaded = [load_system(names, request.device, request.encoders) for names in (request.run, *request.against)]
    check_columns([*loaded[0][0].branches, *(runs[0].folder.name for runs in loaded)])
    return {runs[0].folder.name: runs for runs in loaded}


def check_columns(names: Sequence[str]) -> None:
    """Raise UserError if two columns of the table would have the same name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"--against: two columns of the table would be called '{twice}'; name every run once")


def chosen_elements(store: Store, run: Run, request: Request) -> Sequence[ElementMeta]:
    """Return the elements to evaluate. Raises UserError unless they have both classes."""
    tiers = {RVRA.name, *(request.tiers or FAKES)}
    if request.split != "all":
        return split_metas(run.config, store, request.split, tiers)
    metas = of_tiers(store.metas, tiers)
    check_classes(metas, "all", request.elements or run.config.data.elements)
    return metas


def check_request(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], request: Request
) -> None:
    """Raise UserError for elements that a system or a test cannot take; an element is read for every run."""
    for run in (run for runs in systems.values() for run in runs):
        ElementSet(store, metas, run.inputs).raw([0])
    if request.robustness:
        check_store(store, "--robustness")


def describe(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], request: Request
) -> dict[str, Any]:
    """Return the provenance part of report.json: what it takes to repeat the evaluation, and its protocol."""
    ours, *others = systems
    run = systems[ours][0]
    elements = request.elements or run.config.data.elements
    about = {name: provenance.describe(runs, elements, store.metas, metas) for name, runs in systems.items()}
    return {
        "run": str(run.folder),
        **about[ours],
        "against": {name: about[name] for name in others},
        "split": request.split,
        "elements": elements,
        "left_out_by_truth": left_out_by_truth(store.root),
        "without_elements": "" if request.split == "all" else absent_identities(run.config, store),
        "pooling": {"windows": request.windows, "domain": DOMAIN},
        "git": git_revision(),
        "device": str(run.device),
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "config": run.config.model_dump(),
    }


def score_systems(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], request: Request
) -> Scores:
    """Return the scores of all branches of the first system, and of the main branch of every other system."""
    ours, *others = systems
    stacked = {name: stack([score_run(one, store, metas, request) for one in runs]) for name, runs in systems.items()}
    for name in others:
        stacked[ours].branch[name] = stacked[name].branch[systems[name][0].branches[-1]]
    return stacked[ours]


def score_run(run: Run, store: Store, metas: Sequence[ElementMeta], request: Request) -> Scores:
    """Return the scores of one run."""
    bar = partial(Bar, desc=f"score {request.split}, {run.folder.name}", unit="batch", leave=None)
    elements = ElementSet(store, metas, run.inputs)
    return score(run, elements, batch_size=request.batch_size, workers=workers_of(run, request), progress=bar)


def audit(parts: Mapping[str, audits.Part], store: Store, request: Request, workers: int) -> dict[str, Any]:
    """Return the `audit` of report.json: shortcuts in elements and source files, leaks between splits.

    `parts` are the elements of the splits, the tested ones first. The result also names the probes that were left out,
    and the files that could not be read.
    """
    audits.check(store, request.probes)
    found: dict[str, Any] = {"probes": {}, "leaks": [], "clips": {}, "left_out": {}, "unreadable": {}}
    bar = partial(Bar, desc="audit", unit="clip")
    if request.audit:
        found |= audits.of_elements(parts, workers, bar)
    if request.probes:
        of_files = audits.of_files(store.metas, Path(request.probes), bar)
        found["probes"]["files"], found["left_out"]["files"] = of_files["probes"], of_files["left_out"]
        found["unreadable"] = of_files["unreadable"]
    return found


def perturb(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], folder: Path, request: Request
) -> dict[str, Any]:
    """Return the `robustness` of report.json. Scores of perturbed clips are kept in the folder and used again."""
    some = sample(metas, request.clips, request.seed)
    scored = suite.score_suite(
        request.robustness, systems, store, some, folder / "robustness", partial(score_run, request=request),
        partial(Bar, desc="perturb", unit="case"),
    )  # fmt: skip
    return suite.summarise(
        request.robustness, scored, request.windows, replicates=request.bootstrap, seed=request.seed
    )  # fmt: skip


def relate(
    systems: Mapping[str, list[Run]],
    store: Store,
    metas: Sequence[ElementMeta],
    scores: Scores,
    folder: Path,
    request: Request,
) -> dict[str, Any]:
    """Return the `counterfactuals` of report.json. Scores of changed clips are kept in the folder and used again."""
    some = sample(metas, request.clips, request.seed)
    keys = {meta.key for meta in some}
    rows = [row for row, key in enumerate(scores.keys) if key in keys]
    own = {branch: np.atleast_2d(values)[:, rows] for branch, values in scores.branch.items()}
    return summary.measure(
        systems, store, some, own, folder / "counterfactuals", partial(score_run, request=request), request.windows,
        replicates=request.bootstrap, seed=request.seed, progress=partial(Bar, desc="counterfactuals", unit="case"),
    )  # fmt: skip


def reading(run: Run, request: Request) -> dict[str, int]:
    """Return how elements are read to be scored."""
    return {"batch_size": request.batch_size, "workers": workers_of(run, request)}


def workers_of(run: Run, request: Request) -> int:
    """Return the number of loader processes."""
    return run.config.data.workers if request.workers is None else request.workers
