"""One report of many systems on the very same clips, from what evaluate.py has written of each.

    python compare.py runs/train runs/baseline-avff runs/baseline-mrdf
    python compare.py runs/s0,runs/s1,runs/s2 runs/mrdf-s0,runs/mrdf-s1 --split test --out runs/compare

Runs joined by commas are the seeds of one system, evaluated together. Differences are of the first system, or of
--reference, from each other one, on the same clips and the same draws of identities. Writes
`<out>/compare.{html, tex, md, csv, json}`.
"""

import argparse
import json
from pathlib import Path

from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, write_atomic
from avdfd.evaluation.compare import compare
from avdfd.evaluation.stored import read
from avdfd.report import compared
from avdfd.splits.lists import SPLITS


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="One report of many evaluated systems.", allow_abbrev=False)
    cli.add_argument("runs", nargs="+", metavar="RUN[,RUN...]", help="run folders of each system, its seeds by commas")
    cli.add_argument("--reference", help="name of the system that the others are compared with (default: the first)")
    cli.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    cli.add_argument("--name", help="as it was given to evaluate.py: the folder in RUN/eval (default: the split)")
    cli.add_argument("--out", type=Path, default=Path("runs/compare"), metavar="FOLDER")
    cli.add_argument("--bootstrap", type=int, default=1000, help="replicates; 0 leaves the intervals out")
    cli.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    args = cli.parse_args(argv)
    if args.bootstrap < 0 or args.seed < 0:
        raise UserError("--bootstrap and --seed take numbers of 0 or more")

    systems = [read(names, args.split, args.name) for names in args.runs]
    names = [system.name for system in systems]
    reference = args.reference or names[0]
    if reference not in names:
        raise UserError(f"--reference {reference}: not one of the systems: {', '.join(names)}")
    ensure_writable(args.out)
    result = compare(systems, reference, replicates=args.bootstrap, seed=args.seed)

    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    for suffix, content in (
        ("html", compared.build(result)),
        ("tex", compared.as_latex(result)),
        ("md", compared.as_markdown(result)),
        ("csv", compared.as_table(result)),
        ("json", text),
    ):
        write_atomic(args.out / f"compare.{suffix}", content.encode())
    print(compared.as_text(result))
    print(f"\n{args.out / 'compare.html'}")


if __name__ == "__main__":
    run_script(main)
