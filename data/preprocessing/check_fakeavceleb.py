"""Compares a FakeAVCeleb_v1.2 root with the release, and opens every file.

    python data/preprocessing/check_fakeavceleb.py /data/FakeAVCeleb_v1.2 --json check.json
    python data/preprocessing/check_fakeavceleb.py /data/a_part_of_it --subset

The release has 500 RVRA, 500 RVFA, 9,709 FVRA and 10,857 FVFA rows in meta_data.csv, with 22 paths listed twice: 21,544
files. `--subset` does not require these counts, only that table and files agree. Exit code 0 if everything agrees and
every file can be read, 1 if not, 2 if the root is missing.
"""

import contextlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.errors import run_script
from avdfd.core.files import ensure_writable, write_atomic
from avdfd.core.progress import Bar
from avdfd.core.workers import Failure, check_limits, count_or_cores, run_killable
from avdfd.corpora.fakeavceleb import FILES, ROWS, TABLE, Comparison, compare
from avdfd.corpora.inventory import probe

SHOWN = 20  # lines of a list that are printed; --json has all


def main(argv: list[str]) -> int:
    cli = Parser(description="Compares a FakeAVCeleb root with the release.")
    cli.add_argument("root", type=Path)
    cli.add_argument("--subset", action="store_true", help="a part of the data set: only table and files must agree")
    cli.add_argument("--json", type=Path, help="file for all findings")
    cli.add_argument("--workers", type=int, default=0, help="processes that open files; 0: one per core")
    cli.add_argument("--time-limit", type=float, default=30, help="time limit for a file in seconds")
    args = cli.parse_args(argv)
    check_limits(args.workers, args.time_limit)
    if args.json:
        ensure_writable(args.json.parent)

    found = compare(args.root, released=not args.subset)
    workers = count_or_cores(args.workers)
    unreadable = open_all(args.root, found.paths, workers, args.time_limit)
    passed = not found.differs and not unreadable
    report(found, unreadable)
    if args.json:
        findings = {"root": str(args.root), "passed": passed, "unreadable": unreadable, **asdict(found)}
        write_atomic(args.json, json.dumps(findings, indent=2, ensure_ascii=False).encode() + b"\n")
        print(f"{args.json}: all findings")
    kind = "a consistent part of the release" if args.subset else "as released"
    print(f"{args.root}: {kind if passed else f'not {kind}'}")
    return 0 if passed else 1


def open_all(root: Path, paths: list[str], workers: int, time_limit: float) -> dict[str, str]:
    """Open every file in worker processes; return the reasons of those that cannot be read, by path."""
    reasons = {}
    results = run_killable(
        probe, (root / path for path in paths), workers=min(workers, len(paths)), time_limit=time_limit
    )
    with contextlib.closing(results), Bar(total=len(paths), desc="open", unit="file") as bar:
        for path, result in results:
            if isinstance(result, Failure):
                reasons[path.relative_to(root).as_posix()] = result.reason
            bar.update()
    return dict(sorted(reasons.items()))


def report(found: Comparison, unreadable: dict[str, str]) -> None:
    """Print the counts, then every kind of difference, then remarks."""
    print(f"{'':42s}{'rows':>8s}{'files':>8s}{'released':>10s}")
    for folder in sorted(found.rows.keys() | found.files.keys() | ROWS.keys()):
        released = f"{ROWS[folder]:>10,}" if folder in ROWS else f"{'-':>10s}"
        print(f"{folder:42s}{found.rows.get(folder, 0):>8,}{found.files.get(folder, 0):>8,}{released}")
    released = f"{sum(ROWS.values()):>10,} rows, {FILES:,} files"
    print(f"{'total':42s}{sum(found.rows.values()):>8,}{len(found.paths):>8,}{released}")
    print(f"identities: {found.sources} with a folder, {found.people} including those of swapped faces and voices")
    show("differs from the release", found.counts)
    show(f"in {TABLE}, but missing", found.missing)
    show(f"present, but not in {TABLE}", found.extra)
    show("in the wrong folder", (f"{path}: is at {place}" for path, place in found.wrong_folder.items()))
    show("cannot be read", (f"{path}: {reason}" for path, reason in unreadable.items()))
    show("remark: listed twice", (f"{path}: {', '.join(methods)}" for path, methods in found.twice.items()))
    show("remark: row and folder disagree", found.disagreeing)
    show("remark: FakeVideo that names one identity only", found.one_person)
    show("remark: no clips", (f"{path}: {reason}" for path, reason in sorted(found.others.items())))
    show("remark: tiers that are not in the table", (f"{folder}: {n} files" for folder, n in found.made_here.items()))


def show(title: str, lines: Iterable[str]) -> None:
    """Print the first lines of a list, unless it is empty."""
    lines = list(lines)
    if lines:
        print(f"{title}: {len(lines)}")
        for line in lines[:SHOWN]:
            print(f"  {line}")
        if len(lines) > SHOWN:
            print(f"  and {len(lines) - SHOWN} more")


if __name__ == "__main__":
    run_script(main)
