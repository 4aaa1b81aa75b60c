"""Compare several systems on the same clips, from the evaluations that evaluate.py has written.

    python compare.py runs/train runs/baseline-avff runs/baseline-mrdf
    python compare.py runs/s0,runs/s1,runs/s2 runs/mrdf-s0,runs/mrdf-s1 --split test --out runs/compare

    python compare.py --pages runs/draw0,runs/draw1,runs/draw2

Runs joined by commas are the seeds of one system, evaluated together. Differences are those of the first system, or of
--reference, from every other one, on the same clips and the same bootstrap draws of identities. Writes
`<out>/compare.{html, tex, md, csv, json}`.

With `--pages` the names are those of `--folds` or `--test-all`, joined by commas for the draws of the codecs
(`codec_parity.py --chain.draw`): metrics by page, and means with intervals over pages and draws. Writes
`<out>/pages.json`.
"""

import json
from pathlib import Path

from avdfd.core.arguments import Parser, folder
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, write_atomic
from avdfd.evaluation import page_draws
from avdfd.evaluation.compare import check_comparable, compare
from avdfd.evaluation.stored import read
from avdfd.metrics.bootstrap import MOST_REPLICATES
from avdfd.report import comparison, pages
from avdfd.splits.lists import SPLITS


def main(argv: list[str]) -> None:
    cli = Parser(description="Compare evaluated systems on the same clips.")
    cli.add_argument("runs", nargs="+", metavar="RUN[,RUN...]", help="run folder of a system; seeds joined by commas")
    cli.add_argument("--pages", action="store_true", help="RUN is a --name of --folds or --test-all; commas join draws")
    cli.add_argument("--reference", help="name of the system that the others are compared with (default: the first)")
    cli.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    cli.add_argument("--name", type=folder, help="evaluate.py's --name: the folder in RUN/eval (default: the split)")
    cli.add_argument("--out", type=Path, default=Path("runs/compare"), metavar="FOLDER")
    cli.add_argument("--bootstrap", type=int, default=1000, help="bootstrap replicates; 0 for no intervals")
    cli.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    args = cli.parse_args(argv)
    if not 0 <= args.bootstrap <= MOST_REPLICATES or args.seed < 0:
        raise UserError(f"--bootstrap must be 0 or more, up to {MOST_REPLICATES}, and --seed 0 or more")

    if args.pages:
        if args.reference or args.name or args.split != "test":
            raise UserError("--reference, --name and --split are not for --pages, which reads the pages of all folds")
        print(by_page(args.runs, args.out, args.bootstrap, args.seed))
        return
    systems = [read(names, args.split, args.name) for names in args.runs]
    names = [system.name for system in systems]
    reference = args.reference or names[0]
    if reference not in names:
        raise UserError(f"--reference {reference}: not one of the systems: {', '.join(names)}")
    check_comparable(systems)
    ensure_writable(args.out)
    result = compare(systems, reference, replicates=args.bootstrap, seed=args.seed)

    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    for suffix, content in (
        ("html", comparison.build(result)),
        ("tex", comparison.as_latex(result)),
        ("md", comparison.as_markdown(result)),
        ("csv", comparison.as_csv(result)),
        ("json", text),
    ):
        write_atomic(args.out / f"compare.{suffix}", content.encode())
    print(comparison.comparison_text(result))
    print(f"\n{args.out / 'compare.html'}")


def by_page(names: list[str], out: Path, replicates: int, seed: int) -> str:
    """Pool the draws of each system, write pages.json, and return the tables as text."""
    draws = {name: page_draws.read_draws(name) for name in names}
    ensure_writable(out)
    pooled = {name: page_draws.pool_draws(read, replicates=replicates, seed=seed) for name, read in draws.items()}
    write_atomic(out / "pages.json", (json.dumps(pooled, indent=2, allow_nan=False) + "\n").encode())
    return f"{pages.draws_text(pooled)}\n\n{out / 'pages.json'}"


if __name__ == "__main__":
    run_script(main)
