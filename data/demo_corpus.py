"""Make the built-in corpus: talking heads, real and fake, in FakeAVCeleb's layout, from nothing but a seed.

    python data/demo_corpus.py --out data/demo/videos --identities 32 --seed 0

It can be interrupted at any moment; the next run makes what is missing. README.md says what is in it.
"""

import argparse
import csv
import io
import json
import multiprocessing as mp
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

import cv2
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # avdfd, when it is not installed

from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from data.corpus.cast import Person, draw_person
from data.corpus.clips import CATEGORIES, METHODS, make_person, person_clips

VERSION = 1  # of the generator: clips of another one are not mixed with its own
FEWEST = 3  # identities: one each to train on, to select on and to test on
COLUMNS = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read and check the command line. Raises UserError."""
    parser = _Parser(description="Make the built-in corpus of talking heads, real and fake.")
    parser.add_argument("--out", type=Path, default=Path("data/demo/videos"), help="folder for it (%(default)s)")
    parser.add_argument("--identities", type=int, default=32, help="number of people, 12 clips each (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="everything follows from it (%(default)s)")
    parser.add_argument("--workers", type=int, default=None, help="processes (one per core)")
    args = parser.parse_args(arguments)
    if args.workers is None:
        args.workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if args.identities < FEWEST:
        raise UserError(f"--identities {args.identities}: at least {FEWEST} are needed (train, validation, test)")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: must not be negative")
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: at least 1 is needed")
    return args


def claim(out: Path, settings: dict[str, int]) -> None:
    """Make the folder and note the settings in it. Raises UserError if it cannot be written or holds another corpus."""
    note = out / "corpus.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if note.exists():
            found = json.loads(note.read_text())
            if found != settings:
                raise UserError(f"{out} holds a corpus of {found}, not {settings}: use another --out or delete it")
        else:
            write_atomic(note, (json.dumps(settings) + "\n").encode())
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}): choose another folder") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{note} is not readable: delete {out} and run again") from error


def metadata_rows(out: Path, people: list[Person]) -> list[tuple[str, ...]]:
    """The rows of meta_data.csv, FakeAVCeleb's columns."""
    rows = []
    for person in people:
        for tier, path in person_clips(out, person):
            folder = "/".join(("FakeAVCeleb", *path.parent.relative_to(out).parts))
            how = (METHODS[tier], CATEGORIES[tier], tier.folder)
            rows.append((person.name, "-", "-", *how, person.race, person.gender, path.name, folder))
    return sorted(rows, key=lambda row: (row[5], row[0], row[8]))


def write_metadata(out: Path, people: list[Person]) -> None:
    """Write meta_data.csv."""
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *metadata_rows(out, people)])
    write_atomic(out / "meta_data.csv", text.getvalue().encode())


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    cv2.setNumThreads(1)  # there is one worker per core already


def _make(task: tuple[Path, Person, Path]) -> int:
    return make_person(*task)


def make(out: Path, people: list[Person], workers: int) -> int:
    """Make every missing clip and return how many that was."""
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was interrupted
    partial.mkdir()
    todo = [p for p in people if not all(path.exists() for _, path in person_clips(out, p))]
    made = 0
    context = mp.get_context("spawn")
    try:
        # A fresh process for every person: see corpus/speech.py.
        with context.Pool(min(workers, max(1, len(todo))), _start_worker, maxtasksperchild=1) as pool:
            tasks = [(out, person, partial) for person in todo]
            for count in tqdm(pool.imap_unordered(_make, tasks), total=len(tasks), desc="corpus", unit="person"):
                made += count
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    try:
        args = parse(arguments)
        claim(args.out, {"version": VERSION, "identities": args.identities, "seed": args.seed})
        people = [draw_person(index, args.seed) for index in range(args.identities)]
        made = make(args.out, people, args.workers)
        write_metadata(args.out, people)
    except UserError as error:
        print(f"demo_corpus: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"demo_corpus: {args.out}: {error.strerror}; what is there is whole: run again to go on", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo_corpus: interrupted; run again to go on", file=sys.stderr)
        return 130
    total = sum(1 for p in people for _ in person_clips(args.out, p))
    print(f"{args.out}: {total} clips of {len(people)} people in {len(METHODS)} tiers ({made} made now)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
