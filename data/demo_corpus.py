"""Makes the built-in corpus: talking heads, real and fake, in FakeAVCeleb's layout, drawn from a seed.

    python data/demo_corpus.py --out data/demo/videos --identities 32 --seed 0

It can be interrupted at any time; the next run makes what is missing.
"""

import argparse
import csv
import io
import multiprocessing as mp
import os
import shutil
import signal
import sys
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # avdfd, when it is not installed

from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.journal import claim, refuse_changes
from avdfd.core.progress import Bar
from avdfd.core.workers import MOST
from data.corpus.cast import Identity, draw_identity
from data.corpus.clips import CATEGORIES, METHODS, identity_clips, make_identity

VERSION = 2  # of the generator: clips of different versions are not mixed
FEWEST = 3  # identities: one each for training, validation and test
MOST_IDENTITIES = 100_000
COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read and check the command line. Raises UserError."""
    parser = Parser(description="Makes the built-in corpus of talking heads, real and fake.")
    parser.add_argument("--out", type=Path, default=Path("data/demo/videos"), help="output folder (%(default)s)")
    parser.add_argument("--identities", type=int, default=32, help="number of identities, 12 clips each (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (%(default)s)")
    parser.add_argument("--workers", type=int, default=None, help="processes (one per core)")
    args = parser.parse_args(arguments)
    if args.workers is None:
        args.workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not FEWEST <= args.identities <= MOST_IDENTITIES:
        raise UserError(
            f"--identities {args.identities}: at least {FEWEST} are needed (train, validation, test), at most "
            f"{MOST_IDENTITIES} are made"
        )
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: must not be negative")
    if not 1 <= args.workers <= MOST:
        raise UserError(f"--workers {args.workers}: a number from 1 to {MOST} is needed")
    return args


def metadata_rows(out: Path, identities: list[Identity]) -> list[tuple[str, ...]]:
    """Return the rows of meta_data.csv, with FakeAVCeleb's columns."""
    rows = []
    for identity in identities:
        for tier, path in identity_clips(out, identity):
            folder = "/".join(("FakeAVCeleb", *path.parent.relative_to(out).parts))
            how = (METHODS[tier], CATEGORIES[tier], tier.folder)
            rows.append((identity.name, "-", "-", *how, identity.race, identity.gender, path.name, folder))
    return sorted(rows, key=lambda row: (row[5], row[0], row[8]))


def write_metadata(out: Path, identities: list[Identity]) -> None:
    """Write meta_data.csv."""
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *metadata_rows(out, identities)])
    write_atomic(out / "meta_data.csv", text.getvalue().encode())


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends the workers
    cv2.setNumThreads(1)  # there is one worker per core already


def _make(task: tuple[Path, Identity, Path]) -> int:
    return make_identity(*task)


def make(out: Path, identities: list[Identity], workers: int) -> int:
    """Make every missing clip; return their number."""
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run
    partial.mkdir()
    todo = [p for p in identities if not all(path.exists() for _, path in identity_clips(out, p))]
    made = 0
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    try:
        # A new process for every identity (see corpus/speech.py): a copy of one that has imported all this and never
        # spoken.
        with context.Pool(min(workers, max(1, len(todo))), _start_worker, maxtasksperchild=1) as pool:
            tasks = [(out, identity, partial) for identity in todo]
            for count in Bar(pool.imap_unordered(_make, tasks), total=len(tasks), desc="corpus", unit="identity"):
                made += count
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    try:
        args = parse(arguments)
        settings = {"version": VERSION, "identities": args.identities, "seed": args.seed}
        refuse_changes(args.out, claim(args.out, args.out / "corpus.json", settings, holds="built-in corpus"), settings)
        identities = [draw_identity(index, args.seed) for index in range(args.identities)]
        made = make(args.out, identities, args.workers)
        write_metadata(args.out, identities)
    except UserError as error:
        print(f"demo_corpus: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"demo_corpus: {args.out}: {error.strerror}; finished clips stay: run again to resume",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("demo_corpus: interrupted; run again to resume", file=sys.stderr)
        return 130
    total = sum(1 for p in identities for _ in identity_clips(args.out, p))
    print(f"{args.out}: {total} clips of {len(identities)} identities in {len(METHODS)} tiers ({made} made now)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
