"""Scores a split with a trained run and writes a report of what it can and cannot tell apart.

    bash evaluate.sh --run runs/train --split test
    python evaluate.py --run runs/demo --split test --against runs/demo-avff --probes data/demo/videos

The clip is the unit of every metric: the probabilities of its windows are averaged. Every tier that the split holds is
judged against RVRA, also those that the run was not trained on. Intervals come from resampling identities; a clip with
several identities goes with its first. `--against` puts other runs, on the very same elements, beside it. Writes
`<run>/eval/<split>/{report.json, report.html, scores.csv}`.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from avdfd import report, robustness
from avdfd.datasets.loaders import ElementSet, split_metas
from avdfd.datasets.splits import SPLITS, check_unseen
from avdfd.datasets.stores import Store, open_store
from avdfd.datasets.tiers import TIERS
from avdfd.elements import ElementMeta
from avdfd.errors import MediaError, UserError, run_script
from avdfd.evaluation import Clip, as_csv, draw, judge, pool
from avdfd.files import ensure_writable, sha256_of, write_atomic
from avdfd.probes import run_probes
from avdfd.robustness import suite
from avdfd.scoring import Run, Scores, load_run, score
from avdfd.tracking import BEST, git_revision


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="Scores a split and writes a report.", allow_abbrev=False)
    cli.add_argument("--run", required=True, help="run folder of a training script")
    cli.add_argument("--against", nargs="+", default=[], metavar="RUN", help="other runs, for the same table")
    cli.add_argument("--split", choices=(*SPLITS, "all"), default="test", help="all: a store that no split is of")
    cli.add_argument("--elements", help="another element store than the one the run was trained on")
    cli.add_argument("--probes", metavar="VIDEO_ROOT", help="also probe the store's source videos, here, for shortcuts")
    cli.add_argument(
        "--robustness", nargs="*", metavar="NAME", help="score perturbed clips too (no name: all 22 kinds)"
    )
    cli.add_argument("--clips", type=_count, default=0, help="clips of each tier for --robustness; 0 takes all")
    cli.add_argument("--batch-size", type=_positive, default=16)
    cli.add_argument("--workers", type=_count, help="loader processes (default: as the run was trained)")
    cli.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    cli.add_argument("--bootstrap", type=_count, default=1000, help="replicates; 0 leaves the intervals out")
    cli.add_argument("--seed", type=_count, default=0, help="seed of the bootstrap")
    args = cli.parse_args(argv)

    # ---- what to judge, and on what
    perturbations = robustness.choose(args.robustness) if args.robustness is not None else ()
    runs = load_runs([args.run, *args.against], args.device)
    run = runs[0]
    folder = run.folder / "eval" / args.split
    ensure_writable(folder)
    store = open_store(args.elements or run.config.data.elements, *(one.config.kind for one in runs))
    metas = store.metas if args.split == "all" else split_metas(run.config, store, args.split, TIERS)
    for one in runs:
        check_unseen(one.config, metas, args.split)
    about = describe(runs, args)
    tuned = validation_thresholds(run.folder, about["checkpoint_sha256"]) if args.split == "test" else {}

    # ---- scores
    probes = {"probes": probe(store.metas, Path(args.probes))} if args.probes else {}
    columns = {one.folder.name: score_elements(one, store, metas, args) for one in runs}
    scores = columns[run.folder.name]
    for one in runs[1:]:
        scores.branch[one.folder.name] = columns[one.folder.name].branch[one.branches[-1]]

    # ---- judgement
    clips = pool(metas, scores)
    judged = judge(clips, list(scores.branch), run.branches[-1], tuned, replicates=args.bootstrap, seed=args.seed)
    result = about | judged | probes | perturbed(perturbations, runs, store, metas, folder, args)
    write(folder, result, clips)
    print(report.as_text(result))
    print(f"\n{folder / 'report.html'}")


def load_runs(folders: Sequence[str], device: str) -> list[Run]:
    """The runs, which need different names, as the table's columns have them."""
    runs = [load_run(folder, device) for folder in folders]
    names = [*runs[0].branches, *(run.folder.name for run in runs)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"--against: two columns of the table would be called '{twice}'; name every run once")
    return runs


def describe(runs: Sequence[Run], args: argparse.Namespace) -> dict[str, Any]:
    """What was run, so that it can be run again."""
    run = runs[0]
    return {
        "run": str(run.folder),
        "kind": run.config.kind,
        "against": {
            one.folder.name: {"kind": one.config.kind, "checkpoint_sha256": sha256_of(one.folder / BEST)}
            for one in runs[1:]
        },
        "split": args.split,
        "elements": args.elements or run.config.data.elements,
        "checkpoint_sha256": sha256_of(run.folder / BEST),
        "git": git_revision(),
        "device": str(run.device),
        "bootstrap": args.bootstrap,
        "seed": args.seed,
        "config": run.config.model_dump(),
    }


def validation_thresholds(run: Path, checkpoint_sha256: str) -> dict[str, float]:
    """Branch -> threshold of equal errors on validation, where that was evaluated before for the same weights."""
    path = run / "eval" / "validation" / "report.json"
    if not path.is_file():
        return {}
    former = json.loads(path.read_text(encoding="utf-8"))
    if former["checkpoint_sha256"] != checkpoint_sha256:
        return {}
    return {branch: former["overall"][branch]["eer_threshold"] for branch in former["branches"]}


def score_elements(run: Run, store: Store, metas: Sequence[ElementMeta], args: argparse.Namespace) -> Scores:
    """What a run says about elements of a store."""
    bar = partial(tqdm, desc=f"score {args.split}, {run.folder.name}", unit="batch", leave=None)
    workers = run.config.data.workers if args.workers is None else args.workers
    elements = ElementSet(store, metas, run.inputs)
    return score(run, elements, batch_size=args.batch_size, workers=workers, progress=bar)


def perturbed(
    names: Sequence[str],
    runs: list[Run],
    store: Store,
    metas: Sequence[ElementMeta],
    folder: Path,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The part of the report about perturbed clips, if any perturbation was asked for."""
    if not names:
        return {}
    chosen = suite.sample(metas, args.clips, args.seed)
    systems = {one.folder.name: [one] for one in runs}
    bar = partial(tqdm, desc="perturb", unit="case")
    scored = suite.score_suite(
        names, systems, store, chosen, folder / "robustness",
        lambda run, store: score_elements(run, store, chosen, args), bar,
    )  # fmt: skip
    return {"robustness": suite.judge(scored, chosen, replicates=args.bootstrap, seed=args.seed)}


def probe(metas: Sequence[ElementMeta], root: Path) -> dict[str, dict[str, float]]:
    """Shortcut probes over the videos that the store was made from. Raises UserError if they are not under `root`."""
    rows = {meta.source: (root / meta.source, meta.tier, meta.identities[0]) for meta in metas}
    missing = next((path for path, _, _ in rows.values() if not path.is_file()), None)
    if missing:
        raise UserError(f"{missing}: no such file; --probes takes the folder that the elements were made from")
    try:
        return run_probes(tqdm(rows.values(), desc="probe", unit="clip"))
    except (MediaError, ValueError) as error:
        raise UserError(f"{root}: cannot be probed ({error}); leave --probes out") from None


def write(folder: Path, result: dict[str, Any], clips: list[Clip]) -> None:
    """Writes the three files, report.json last: where it is, the others are."""
    page = report.build(result, draw(clips, result["branches"], result["main"]))
    write_atomic(folder / "scores.csv", as_csv(clips, result["branches"]).encode())
    write_atomic(folder / "report.html", page.encode())
    write_atomic(folder / "report.json", (json.dumps(result, indent=2) + "\n").encode())


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
