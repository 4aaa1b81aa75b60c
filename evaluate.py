"""Evaluate a trained system on a split and write a report.

    bash evaluate.sh --run runs/train --split test
    python evaluate.py --run runs/demo --split test --against runs/demo-avff --probes data/demo/videos
    python evaluate.py --run runs/s0,runs/s1,runs/s2 --against runs/mrdf-s0,runs/mrdf-s1 --split test
    python evaluate.py --scores theirs.csv --run runs/theirs --against runs/train --split test

The clip is the unit of the metrics: the probabilities of its windows are averaged, or pooled by `--windows`. Metrics
per window are reported beside them, and the localisation of the fake periods of partially fake clips. The fakes
of every tier in the split are compared with the real clips, including tiers that the system was not trained on.
Intervals resample identities; a clip with several identities belongs to its first. Runs of one system with different
seeds are joined by commas and averaged. `--against` adds other systems on the same elements, with paired tests. If the
split has clips of known pages, every system is also measured within each page. Thresholds and temperatures come from
the validation report of the same weights, if there is one.

`--counterfactuals` tests whether the scores use the relation of audio and video: it replaces either stream by that of
another clip, moves the audio, and reorders the frames. `--robustness` also scores perturbed clips, `--audit` looks for
shortcuts and leaks between splits, `--probes` for shortcuts in the source files; with `--strict`, a shortcut or a leak
is exit code 3. Writes
`<run>/eval/<split>/{report.json, report.html, scores.csv, windows.csv}`. With `--csv`, the clips are those of
OpenAVFF's lists, and prediction.csv is written beside them.

`--scores` judges the scores of any system, which a CSV or Parquet file has for each file, on the same clips and without
a model; `--run` then names the folder for the report, and runs of `--against` are read as evaluated before.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from avdfd.core.arguments import Parser, add_encoders, folder
from avdfd.core.errors import UserError, run_script
from avdfd.core.tiers import FAKES
from avdfd.core.workers import MOST
from avdfd.evaluation.audit import verdicts
from avdfd.evaluation.score_file import SCALES, ScoreFile
from avdfd.metrics.bootstrap import MOST_REPLICATES
from avdfd.metrics.pooling import parse_rule
from avdfd.splits.lists import SPLITS

FOUND = 3
"""Exit code of `--strict` if a shortcut or a leak is found."""


def main(argv: list[str]) -> int:
    cli = Parser(description="Evaluate a system on a split and write a report.")
    cli.add_argument("--run", metavar="RUN[,RUN...]", help="run folder, or one per seed")
    cli.add_argument("--against", nargs="+", default=[], metavar="RUN", help="other systems to compare")
    cli.add_argument("--split", choices=(*SPLITS, "all"), help="default: test; all: every element of a store")
    cli.add_argument(
        "--csv", type=Path, nargs="+", default=[], metavar="FILE", help="the clips of lists, video_name,target"
    )
    cli.add_argument("--elements", help="element store, a folder or URL (default: that of the run)")
    cli.add_argument("--tiers", nargs="+", choices=FAKES, help="fakes (default: all)")
    cli.add_argument("--windows", type=_rule, default="mean", help="pooling: mean, max, or top3 for the 3 largest")
    cli.add_argument("--name", type=folder, help="folder of the report in RUN/eval (default: the split)")
    cli.add_argument("--probes", metavar="VIDEO_ROOT", help="root of the source files, to be probed for shortcuts")
    cli.add_argument("--videos", help="root of the source files, for links and --csv (default: --probes)")
    cli.add_argument("--audit", action="store_true", help="look for shortcuts and leaks in the elements")
    cli.add_argument("--strict", action="store_true", help="audit, and exit with 3 if it finds anything")
    cli.add_argument(
        "--robustness", nargs="*", metavar="NAME", help="also score perturbed clips (all perturbations, or those named)"
    )
    cli.add_argument(
        "--counterfactuals", action="store_true", help="test whether the scores use the relation of audio and video"
    )
    cli.add_argument(
        "--clips", type=_count, default=0, help="clips of each tier for these two (default: 0, which takes all)"
    )
    add_encoders(cli)
    cli.add_argument("--batch-size", type=_positive, help="elements scored at once (default: 16)")
    cli.add_argument("--workers", type=_up_to(MOST), help="loader processes (default: as in training)")
    cli.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto, the GPU if there is one")
    others = cli.add_argument_group("scores of any system, in place of a trained run")
    others.add_argument(
        "--scores", type=Path, metavar="FILE", help="CSV or Parquet; --run (default: runs/FILE's name) gets the report"
    )
    others.add_argument("--splits", metavar="LISTS", help="lists that --split is of (default: of --against)")
    others.add_argument("--file-column", metavar="NAME", help="column of the files (default: found by its name)")
    others.add_argument("--score-column", metavar="NAME", help="column of the scores (default: found by its name)")
    others.add_argument("--higher-is-real", action="store_true", help="a higher score means real, not fake")
    others.add_argument(
        "--scale", choices=SCALES, help="of the scores (default: probability); rank: their order alone has a meaning"
    )
    cli.add_argument(
        "--bootstrap", type=_up_to(MOST_REPLICATES), default=1000, help="bootstrap replicates; 0 for no intervals"
    )
    cli.add_argument("--seed", type=_count, default=0, help="seed of the bootstrap")
    args = cli.parse_args(argv)
    if args.csv and args.split not in (None, "all"):
        raise UserError("--csv names the clips, so there is no --split")
    file = score_file(args)
    if file is None and args.run is None:
        raise UserError("name the run to evaluate with --run, or a file of scores with --scores")
    # Imported here, as they need torch, which takes seconds to import: a wrong request is refused before it.
    from avdfd.evaluation import outside, robustness
    from avdfd.evaluation.evaluate import Request, evaluate
    from avdfd.report import files

    request = Request(
        args.run or f"runs/{args.scores.stem}",
        against=args.against,
        split=args.split or ("all" if args.csv else "test"),
        csv=args.csv,
        elements=args.elements,
        tiers=args.tiers or (),
        windows=args.windows,
        name=args.name,
        probes=args.probes,
        videos=args.videos,
        audit=args.audit or args.strict,
        robustness=() if args.robustness is None else robustness.choose(args.robustness),
        counterfactuals=args.counterfactuals,
        clips=args.clips,
        encoders=args.encoders,
        batch_size=args.batch_size or 16,
        workers=args.workers,
        device=args.device or "auto",
        bootstrap=args.bootstrap,
        seed=args.seed,
    )
    done = evaluate(request) if file is None else outside.judge(request, file, args.splits)
    print(files.write(done))
    return FOUND if args.strict and not verdicts.passes(done.result["audit"]) else 0


def score_file(args: argparse.Namespace) -> ScoreFile | None:
    """Return the file of scores to judge, None if a run is evaluated. Raises UserError for options of the other way."""
    of_scores = {
        "splits": args.splits,
        "file-column": args.file_column,
        "score-column": args.score_column,
        "higher-is-real": args.higher_is_real,
        "scale": args.scale,
    }
    if args.scores is None:
        given = [name for name, value in of_scores.items() if value]
        if given:
            raise UserError(f"--{given[0]} goes with --scores")
        return None
    of_models = {
        "counterfactuals": args.counterfactuals,
        "robustness": args.robustness is not None,
        "clips": args.clips,
        "encoders": args.encoders,
        "batch-size": args.batch_size,
        "device": args.device,
    }
    given = [name for name, value in of_models.items() if value]
    if given:
        raise UserError(f"--{given[0]} needs a model, but --scores has only the scores of its files")
    return ScoreFile(args.scores, args.file_column, args.score_column, args.higher_is_real, args.scale or SCALES[0])


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


def _up_to(most: int) -> Callable[[str], int]:
    """Return the parser of a whole number from 0 to `most`."""

    def parse(text: str) -> int:
        value = _count(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}")
        return value

    return parse


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


if __name__ == "__main__":
    run_script(main)
