"""Lists a data set: one row per video file with labels, identities, streams, edge silence and fingerprints.

    python data/preprocessing/make_manifest.py --root /data/FakeAVCeleb_v1.2 --out data/manifests/fakeavceleb.parquet
    python data/preprocessing/make_manifest.py --root videos --layout csv --out own.parquet --duplicates
    python data/preprocessing/make_manifest.py --root videos --layout columns --out any_table.parquet

A file that cannot be used has a row with the reason, and so has a row of a table without a file. OUT.left_out.csv lists
what is no clip: files of other kinds, folders that cannot be entered, repeated rows. A second run opens only new and
changed files; an interrupted run resumes. `--duplicates` also writes OUT.duplicates.csv: near-duplicates by bytes,
video or audio.
"""

import contextlib
import sys
import time
from collections import Counter
from operator import attrgetter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.clips import Entry
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, locked, write_csv
from avdfd.core.progress import Bar
from avdfd.core.tree import leads_out
from avdfd.core.workers import Failure, check_limits, count_or_cores, run_killable
from avdfd.corpora import video_list
from avdfd.corpora.duplicates import MATCHES, Group, find_duplicates
from avdfd.corpora.inventory import FileFacts, examine, stamp
from avdfd.corpora.layouts import LAYOUTS, REPEATED, Listing, read_root
from avdfd.corpora.left_out import COLUMNS, LEFT_OUT, as_rows, left_out, search, summary, unlisted
from avdfd.corpora.manifest import ManifestRow, make_row, read_manifest, write_manifest
from avdfd.corpora.video_list import read_videos

SAVE_EVERY = 60.0  # seconds of work that a kill may lose
SHOWN = 20  # lines of a list that are printed


def main(argv: list[str]) -> int:
    cli = Parser(description="Lists a data set.")
    cli.add_argument("--root", type=Path, required=True, help="folder of the videos")
    cli.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS])
    cli.add_argument(
        "--csv", type=Path, nargs="+", metavar="FILE", help="lists of videos below the root: video_name,target"
    )
    cli.add_argument("--out", type=Path, required=True, help="the manifest, a .parquet file")
    cli.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    cli.add_argument("--time-limit", type=float, default=300, help="time limit for a file in seconds")
    cli.add_argument("--duplicates", action="store_true", help="find near-duplicates and write OUT.duplicates.csv")
    args = cli.parse_args(argv)
    check_limits(args.workers, args.time_limit)
    if args.out.is_dir():
        raise UserError(f"{args.out}: is a folder; --out takes the name of a file, such as manifest.parquet")
    if args.out.suffix.lower() in (".csv", ".tsv", ".txt", ".json", ".jsonl"):
        raise UserError(f"{args.out}: a manifest is a Parquet file; give --out a name that ends in .parquet")

    if args.csv and args.layout != "auto":
        raise UserError("--csv and --layout both say how the videos are listed: give one of them")
    found, others = read_lists(args.csv, args.root) if args.csv else read_root(args.root, args.layout)
    outside = [entry for entry in found if leads_out(entry.clip.source)]  # no row of a manifest may lead out of a root
    found = [entry for entry in found if not leads_out(entry.clip.source)]
    ensure_writable(args.out.parent)
    with locked(args.out.with_name(f".{args.out.name}.lock"), args.out):
        known = load(args.out)
        rows = inspect(found, known, args.out, count_or_cores(args.workers), args.time_limit)
        write_manifest(args.out, rows)
        partial(args.out).unlink(missing_ok=True)
        aside = left_out(outside, others)
        write_csv(args.out.with_name(f"{args.out.name}.{LEFT_OUT}"), [COLUMNS, *as_rows(aside)])
        if args.duplicates:
            report_duplicates(args.out, rows)
    code = report(args.out, rows)
    if aside:
        print(f"{args.out}.{LEFT_OUT}: {summary(aside)}")
    return code


def read_lists(paths: list[Path], root: Path) -> Listing:
    """Return the videos of lists, and their further rows and the files below the root without a row."""
    files = search(root)
    listed = read_videos(paths, root, files=files)
    others = unlisted(files, {video.source for video in listed.videos}, paths)
    return Listing(video_list.entries(listed), others + [(source, REPEATED) for source in listed.again])


def load(out: Path) -> dict[str, ManifestRow]:
    """Return the rows of earlier runs, finished or not, by path."""
    return {row.source: row for path in (out, partial(out)) if path.exists() for row in read_manifest(path)}


def inspect(
    entries: list[Entry], known: dict[str, ManifestRow], out: Path, workers: int, time_limit: float
) -> list[ManifestRow]:
    """Return a row for every entry; new and changed files are opened in worker processes."""
    rows: list[ManifestRow] = []
    todo: dict[Path, Entry] = {}
    for entry in entries:
        row = known.get(entry.clip.source)
        if entry.problem:
            rows.append(make_row(entry, FileFacts()))
        elif row and is_done(row, stamp(entry.clip.path), time_limit):
            rows.append(make_row(entry, row.file, row.stopped_after))
        else:
            todo[entry.clip.path] = entry
    if known:
        gone = len(known.keys() - {entry.clip.source for entry in entries})
        print(f"{out}: {len(entries) - len(todo)} files listed before, {len(todo)} to open, {gone} gone")

    saved = time.monotonic()
    results = run_killable(examine, todo, workers=min(workers, len(todo)), time_limit=time_limit)
    try:
        with contextlib.closing(results), Bar(total=len(todo), desc="manifest", unit="file") as bar:
            for path, result in results:
                if isinstance(result, Failure):
                    facts = stamp(path)
                    facts = facts if facts.error else facts._replace(error=result.reason)
                    rows.append(make_row(todo[path], facts, time_limit if result.killed else None))
                else:
                    rows.append(make_row(todo[path], result))
                bar.update()
                if time.monotonic() - saved > SAVE_EVERY:
                    write_manifest(partial(out), rows)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        write_manifest(partial(out), rows)
        raise
    return sorted(rows, key=attrgetter("source"))


def is_done(row: ManifestRow, now: FileFacts, time_limit: float) -> bool:
    """Return True if a row describes the current file and was not stopped by a shorter time limit."""
    known = row.file
    was_opened = known.sha256 is not None or row.stopped_after is not None
    unchanged = was_opened and (known.size, known.mtime_ns) == (now.size, now.mtime_ns)
    return unchanged and (row.stopped_after is None or row.stopped_after >= time_limit)


def report(out: Path, rows: list[ManifestRow]) -> int:
    """Print a summary of the manifest; return 1 if no file can be used."""
    usable = [row for row in rows if not row.file.error]
    identities = {identity for row in usable for identity in row.identities}
    hours = sum(row.file.streams.duration or 0 for row in usable) / 3600
    print(f"{out}: {len(rows)} rows, {len(usable)} usable, {len(identities)} identities, {hours:.2f} hours")
    for tier, number in sorted(Counter(row.tier for row in usable).items()):
        print(f"  {tier}: {number}")
    bad = [row for row in rows if row.file.error]
    for reason, number in Counter(row.file.error for row in bad).most_common():
        print(f"  cannot be used: {number} ({reason})")
    show([f"    {row.source}: {row.file.error}" for row in bad])
    return 0 if usable else 1


def report_duplicates(out: Path, rows: list[ManifestRow]) -> None:
    """Print and write the near-duplicates; groups of different source clips are unexpected, and are listed."""
    groups = find_duplicates([row.file for row in rows])
    lines = [["group", "match", "path", "tier", "base", "identities"]]
    for number, group in enumerate(groups, start=1):
        for row in (rows[member] for member in group.members):
            lines.append([str(number), group.match, row.source, row.tier, row.base, ";".join(row.identities)])
    path = out.with_name(f"{out.name}.duplicates.csv")
    write_csv(path, lines)
    print(f"{path}: {len(groups)} groups of near-duplicates")
    for match in MATCHES:
        found = [group for group in groups if group.match == match]
        unexpected = [group for group in found if len({rows[member].base for member in group.members}) > 1]
        files = sum(len(group.members) for group in found)
        print(f"  same {match}: {len(found)} groups, {files} files; {len(unexpected)} groups of different source clips")
        show([f"    {describe(group, rows)}" for group in unexpected])


def describe(group: Group, rows: list[ManifestRow]) -> str:
    """Return the files of a group on one line."""
    names = [rows[member].source for member in group.members]
    return " = ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def show(lines: list[str]) -> None:
    """Print the first lines of a list; the written file has all of them."""
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"    and {len(lines) - SHOWN} more")


def partial(out: Path) -> Path:
    """Return the file in which an unfinished run keeps its rows."""
    return out.with_name(f"{out.name}.partial")


if __name__ == "__main__":
    run_script(main)
