"""Scores a split with a trained system and writes a report of what it can and cannot tell apart.

    bash evaluate.sh --run runs/train --split test
    python evaluate.py --run runs/demo --split test --against runs/demo-avff --probes data/demo/videos
    python evaluate.py --run runs/s0,runs/s1,runs/s2 --against runs/mrdf-s0,runs/mrdf-s1 --split test

The clip is the unit of every metric: the probabilities of its windows are averaged, or pooled as `--windows` says.
Every tier that the split holds is judged against RVRA, also those that the system was not trained on. Intervals come
from resampling identities; a clip with several identities goes with its first. Runs of one system with different seeds
are joined by commas and pooled. `--against` puts other systems, on the very same elements, beside it, with paired
tests. Thresholds and temperatures are those of the validation report of the same weights, if there is one.

`--robustness` scores perturbed clips too, `--audit` looks for shortcuts and for leaks between splits, `--probes` for
shortcuts in the source files; with `--strict`, a shortcut or a leak is exit code 3. Writes
`<run>/eval/<split>/{report.json, report.html, scores.csv}`.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from avdfd import report
from avdfd.baselines.open_store import open_store
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, write_atomic, write_csv
from avdfd.core.tiers import RVRA, TIERS
from avdfd.datasets.loaders import ElementSet, split_metas
from avdfd.elements import ElementMeta
from avdfd.elements.protocol import Store
from avdfd.evaluation import provenance, robustness, voices
from avdfd.evaluation.audit import audits
from avdfd.evaluation.judge import fit, judge
from avdfd.evaluation.pooling import DOMAIN, Clips, as_they_are, parse_rule, pool, rows, stack
from avdfd.evaluation.robustness import suite
from avdfd.evaluation.worst_errors import gallery
from avdfd.inference.scoring import Run, Scores, load_system, score, trained_under
from avdfd.report.audit import leaks, shortcuts
from avdfd.splits.lists import SPLITS, check_classes, check_unseen, of_tiers
from avdfd.training.run_folder import git_revision

FOUND = 3
"""Exit code of `--strict` for shortcuts and leaks."""


def main(argv: list[str]) -> int:
    cli = argparse.ArgumentParser(description="Scores a split and writes a report.", allow_abbrev=False)
    cli.add_argument("--run", required=True, metavar="RUN[,RUN...]", help="run folder, or one for each seed")
    cli.add_argument("--against", nargs="+", default=[], metavar="RUN", help="other systems, for the same table")
    cli.add_argument("--split", choices=(*SPLITS, "all"), default="test", help="all: a store that no split is of")
    cli.add_argument("--elements", help="another element store than the one the run was trained on")
    cli.add_argument("--tiers", nargs="+", choices=[t for t in TIERS if t != RVRA.name], help="fakes (default: all)")
    cli.add_argument("--windows", type=_rule, default="mean", help="pooling: mean, max, or top3 for the 3 largest")
    cli.add_argument("--name", type=_folder, help="folder of the report in RUN/eval (default: the split)")
    cli.add_argument("--probes", metavar="VIDEO_ROOT", help="also probe the store's source videos, here, for shortcuts")
    cli.add_argument("--videos", help="folder of the source videos, for links to the worst errors (default: --probes)")
    cli.add_argument("--audit", action="store_true", help="look for shortcuts and leaks in the elements")
    cli.add_argument("--strict", action="store_true", help="audit, and exit 3 for a shortcut or leak")
    cli.add_argument(
        "--robustness", nargs="*", metavar="NAME", help="score perturbed clips (all kinds, or those named)"
    )
    cli.add_argument("--clips", type=_count, default=0, help="clips of each tier for --robustness; 0 takes all")
    cli.add_argument("--batch-size", type=_positive, default=16)
    cli.add_argument("--workers", type=_count, help="loader processes (default: as the run was trained)")
    cli.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    cli.add_argument("--bootstrap", type=_count, default=1000, help="replicates; 0 leaves the intervals out")
    cli.add_argument("--seed", type=_count, default=0, help="seed of the bootstrap")
    args = cli.parse_args(argv)

    # ---- what to judge, and on what
    perturbations = () if args.robustness is None else robustness.choose(args.robustness)
    systems = load_systems(args)
    ours, *others = systems.values()
    run = ours[0]
    folder = provenance.folder_of(run.folder, len(ours), args.name or args.split)
    ensure_writable(folder)
    store = open_store(args.elements or run.config.data.elements, *(one[0].config.kind for one in systems.values()))
    metas = chosen(store, run, args)
    for one in [*ours, *(one for other in others for one in other)]:
        for config in trained_under(one):
            check_unseen(config, metas, args.split)
    about = describe(systems, store, metas, args)
    before = args.split in ("train", "validation")
    validation = provenance.folder_of(run.folder, len(ours), "validation") / "report.json"
    fitted = {} if before else provenance.fitted_on_validation(validation, about)

    # ---- scores
    placed = voices.placing(ours)
    scores = score_all(systems | {run.folder.name: placed.runs}, store, metas, args)
    clips = pool(metas, scores, args.windows)

    # ---- judgement
    windows = as_they_are(metas, scores)
    result = about | {"fitted": fitted} | judge(
        clips, run.branches[-1], run.branches, fitted,
        windows=windows, replicates=args.bootstrap, seed=args.seed,
    )  # fmt: skip
    if args.split == "validation":
        trained = {b: provenance.system_of(b, about)["protocol"]["trained_tiers"] for b in clips.scores}
        result["fitted"] = fit(clips, trained)

    result["voices"] = voices.judge(clips, placed, replicates=args.bootstrap, seed=args.seed)
    result["failures"] = gallery(clips, windows, store, metas, run.branches[-1], args.videos or args.probes)

    # ---- can it be believed
    if args.audit or args.strict or args.probes:
        result["audit"] = audit(run, store, metas, args)
    if perturbations:
        result["robustness"] = perturb(perturbations, systems, store, metas, folder, args)
    write(folder, result, clips)
    print(report.as_text(result))
    print(f"\n{folder / 'report.html'}")
    return FOUND if args.strict and (shortcuts(result) or leaks(result)) else 0


def load_systems(args: argparse.Namespace) -> dict[str, list[Run]]:
    """Runs of each system, ours first, by the name of the first; columns of the table need different names."""
    loaded = [load_system(names, args.device) for names in (args.run, *args.against)]
    columns = [*loaded[0][0].branches, *(runs[0].folder.name for runs in loaded)]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice:
        raise UserError(f"--against: two columns of the table would be called '{twice}'; name every run once")
    return {runs[0].folder.name: runs for runs in loaded}


def chosen(store: Store, run: Run, args: argparse.Namespace) -> Sequence[ElementMeta]:
    """The elements to be judged, of both classes."""
    tiers = {RVRA.name, *(args.tiers or TIERS)}
    if args.split != "all":
        return split_metas(run.config, store, args.split, tiers)
    metas = of_tiers(store.metas, tiers)
    check_classes(metas, "all", args.elements or run.config.data.elements)
    return metas


def describe(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], args: argparse.Namespace
) -> dict[str, Any]:
    """What was run, so that it can be run again, and by which protocol."""
    ours, *others = systems
    run = systems[ours][0]
    elements = args.elements or run.config.data.elements
    about = {name: provenance.describe(runs, elements, store.metas, metas) for name, runs in systems.items()}
    return {
        "run": str(run.folder),
        **about[ours],
        "against": {name: about[name] for name in others},
        "split": args.split,
        "elements": elements,
        "pooling": {"windows": args.windows, "domain": DOMAIN},
        "git": git_revision(),
        "device": str(run.device),
        "bootstrap": args.bootstrap,
        "seed": args.seed,
        "config": run.config.model_dump(),
    }


def score_all(
    systems: Mapping[str, list[Run]], store: Store, metas: Sequence[ElementMeta], args: argparse.Namespace
) -> Scores:
    """The branches of our system, and the main one of every other under its name."""
    ours, *others = systems
    stacked = {name: stack([score_one(one, store, metas, args) for one in runs]) for name, runs in systems.items()}
    for name in others:
        stacked[ours].branch[name] = stacked[name].branch[systems[name][0].branches[-1]]
    return stacked[ours]


def score_one(run: Run, store: Store, metas: Sequence[ElementMeta], args: argparse.Namespace) -> Scores:
    """What one run says about elements of a store."""
    workers = run.config.data.workers if args.workers is None else args.workers
    bar = partial(tqdm, desc=f"score {args.split}, {run.folder.name}", unit="batch", leave=None)
    elements = ElementSet(store, metas, run.inputs)
    return score(run, elements, batch_size=args.batch_size, workers=workers, progress=bar)


def audit(run: Run, store: Store, metas: Sequence[ElementMeta], args: argparse.Namespace) -> dict[str, Any]:
    """Shortcuts in the elements and in their source files, and leaks between the splits that the run knows."""
    found: dict[str, Any] = {"probes": {}, "leaks": [], "clips": {}}
    bar = partial(tqdm, desc="audit", unit="clip")
    if args.audit or args.strict:
        parts = audits.parts_of(run.config, store, metas, args.split, foreign=args.elements is not None)
        found |= audits.of_elements(parts, run.config.data.workers if args.workers is None else args.workers, bar)
    if args.probes:
        found["probes"]["files"] = audits.of_files(store.metas, Path(args.probes), bar)
    return found


def perturb(
    names: Sequence[str],
    systems: Mapping[str, list[Run]],
    store: Store,
    metas: Sequence[ElementMeta],
    folder: Path,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """What becomes of the scores when clips are perturbed. What was scored is kept in the folder."""
    some = suite.sample(metas, args.clips, args.seed)
    scored = suite.score_suite(
        names, systems, store, some, folder / "robustness",
        lambda run, perturbed: score_one(run, perturbed, some, args), partial(tqdm, desc="perturb", unit="case"),
    )  # fmt: skip
    return suite.judge(scored, some, args.windows, replicates=args.bootstrap, seed=args.seed)


def write(folder: Path, result: dict[str, Any], clips: Clips) -> None:
    """Writes the three files, report.json last: where it is, the others are."""
    write_csv(folder / "scores.csv", rows(clips))
    write_atomic(folder / "report.html", report.build(result).encode())
    write_atomic(folder / "report.json", (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())


def _folder(text: str) -> str:
    if not re.fullmatch(r"[\w-][\w.-]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a folder; use letters, digits, _ - .")
    return text


def _rule(text: str) -> str:
    try:
        return parse_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    value = _count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


if __name__ == "__main__":
    run_script(main)
