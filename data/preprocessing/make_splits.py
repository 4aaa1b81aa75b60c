"""Writes the lists of a named protocol for a store of elements.

    python data/preprocessing/make_splits.py mrdf_5fold --elements data/elements --out data/splits/mrdf_5fold

mrdf_5fold: `fold_1.csv` to `fold_5.csv`, for `baseline.py --folds`; one clip per person and category, 1:1:1:1.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.datasets.splits import SPLITS
from avdfd.elements import ElementStore
from avdfd.errors import UserError, run_script
from avdfd.files import ensure_writable, write_atomic
from avdfd.folds import as_csv, make_folds


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="Writes the lists of a protocol.", allow_abbrev=False)
    cli.add_argument("protocol", choices=["mrdf_5fold"])
    cli.add_argument("--elements", default="data/elements")
    cli.add_argument("--out", type=Path, required=True, help="folder for the lists")
    cli.add_argument("--validation", type=float, default=0.125, help="share of the training people held for selection")
    cli.add_argument("--seed", type=int, default=0)
    args = cli.parse_args(argv)
    if not 0 < args.validation < 1 or args.seed < 0:
        raise UserError("--validation takes a share between 0 and 1, --seed a whole number of 0 or more")

    folds = make_folds(ElementStore(args.elements).metas, 5, args.validation, args.seed)
    ensure_writable(args.out)
    for number, fold in enumerate(folds, start=1):
        path = args.out / f"fold_{number}.csv"
        write_atomic(path, as_csv(fold).encode())
        people = Counter(row.split for row in {row._replace(source="") for row in fold})
        print(f"{path}: {len(fold)} clips; people: " + ", ".join(f"{people[split]} {split}" for split in SPLITS))


if __name__ == "__main__":
    run_script(main)
