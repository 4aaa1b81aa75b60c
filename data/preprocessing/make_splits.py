"""Writes the clip lists of a named protocol for a store of elements: who is trained on, selected on and tested.

    python data/preprocessing/make_splits.py avdfd_7_3 --elements data/elements --out data/splits/avdfd_7_3
    python data/preprocessing/make_splits.py mrdf_5fold --elements data/elements --out data/splits/mrdf_5fold

avdfd_7_3             70 % of the people are trained on, of the others half select and half test
avdfd_70              the same with 70 people held, of 500
avff_70_30            30 % are tested; validation is taken from the other 70 %
mrdf_5fold            fold_1.csv to fold_5.csv for `baseline.py --folds`: one clip of each person and category
leave_one_method_out  without_RVFA.csv, without_FVRA-WL.csv ...: one method is tested alone, nobody trains on it
real_only             only real clips are trained on

`--train FILE` and `--held FILE` give the identities of the first two, one per line, as their authors publish them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd import protocols
from avdfd.elements import ElementMeta, ElementStore
from avdfd.errors import UserError, run_script
from avdfd.files import ensure_writable
from avdfd.protocols import METHODS, SplitList, fractions

SHARES = {
    "avdfd_7_3": {"train": 0.7, "validation": 0.15, "test": 0.15},
    "avdfd_70": {"train": 0.86, "validation": 0.07, "test": 0.07},
    "avff_70_30": {"train": 0.63, "validation": 0.07, "test": 0.3},
    "real_only": {"train": 0.7, "validation": 0.15, "test": 0.15},
    "leave_one_method_out": {"train": 0.7, "validation": 0.1, "test": 0.2},
}


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="Writes the lists of a protocol.", allow_abbrev=False)
    cli.add_argument("protocol", choices=[*SHARES, "mrdf_5fold"])
    cli.add_argument("--elements", default="data/elements")
    cli.add_argument("--out", type=Path, required=True, help="folder for the lists")
    cli.add_argument("--train", type=Path, help="identities that are trained on, one per line")
    cli.add_argument("--held", type=Path, help="identities that select and test, one per line")
    cli.add_argument("--seed", type=int, default=0)
    args = cli.parse_args(argv)
    if args.seed < 0:
        raise UserError("--seed takes a whole number of 0 or more")
    if (args.train or args.held) and not args.protocol.startswith("avdfd"):
        raise UserError(f"--train and --held are for avdfd_7_3 and avdfd_70; {args.protocol} draws its people")

    metas = ElementStore(args.elements).metas
    lists = make(args.protocol, metas, args.seed, given_people(args.train, args.held))
    ensure_writable(args.out)
    for line in protocols.save(args.out, args.protocol, args.seed, lists, metas):
        print(line)


def make(protocol: str, metas: Sequence[ElementMeta], seed: int, given: dict[str, str]) -> dict[str, SplitList]:
    """The lists of a protocol by name."""
    if protocol == "mrdf_5fold":
        folds = protocols.balanced_folds(metas, 5, 0.125, seed)
        return {f"fold_{number}": fold for number, fold in enumerate(folds, start=1)}
    shares = SHARES[protocol]
    if protocol == "leave_one_method_out":
        there = {(meta.tier, method) for meta in metas for method in (meta.method, None)}
        names = [name for name, kind in METHODS.items() if kind in there]
        if not names:
            raise UserError(f"no clips of any of {', '.join(METHODS)}: this protocol needs FakeAVCeleb's methods")
        return {f"without_{name}": fractions(metas, shares, seed, keep=protocols.without(name)) for name in names}
    if protocol == "real_only":
        return {protocol: fractions(metas, shares, seed, keep=protocols.real_only)}
    return {protocol: fractions(metas, shares, seed, given=given)}


def given_people(train: Path | None, held: Path | None) -> dict[str, str]:
    """Person -> "train" or "held", from lists of identities."""
    people: dict[str, str] = {}
    for path, place in ((train, "train"), (held, "held")):
        if path is None:
            continue
        if not path.is_file():
            raise UserError(f"{path}: no such list of identities")
        for line in path.read_text(encoding="utf-8").split():
            if people.setdefault(line, place) != place:
                raise UserError(f"{path}: identity '{line}' is in the other list too; keep it in one")
    return people


if __name__ == "__main__":
    run_script(main)
