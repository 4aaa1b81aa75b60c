"""Scaling of an element store with its size: journals and index, opening, splits, pairs, an epoch's order, reads.

    python benchmarks/index_scale.py [--sizes 1000 10000 100000] [--parts 16] [--work FOLDER]

The journals are generated: as many clips as --sizes says, of FakeAVCeleb's tiers and an identity for every 100 of them;
all windows point to the same bytes of one shard. Times are CPU time, also that of the kernel, in processes of their
own. Memory is private to such a process (Private) or mapped from the index and shared with others (Shared); "merged" is
the most that merging held.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.core.journal import Journal
from avdfd.core.shards import Shard
from avdfd.datasets.samplers import Paired, Shared, Shuffled
from avdfd.elements import ElementStore, ElementWriter, coded
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX, journal_name, shard_name
from avdfd.features.window import FACE_SIZE, FRAMES, WINDOW
from avdfd.splits.lists import Lists, assign

TIERS = ("RVRA", "RVFA", "FVRA", "FVFA", "RVFA-VC", "RVFA-SVC")
PER_PERSON = 100
READS = 300


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    cli.add_argument("--parts", type=int, default=16)
    cli.add_argument("--work", help="folder on the disk to measure (default: the system's for temporary files)")
    cli.add_argument("--measure", type=Path, help="(internal) the store to open")
    cli.add_argument("--merge", type=Path, help="(internal) the store to merge")
    args = cli.parse_args()
    if args.merge:
        _, seconds = timed(lambda: merge(args.merge))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(f"  merged {seconds:.2f} s, at most {most:.0f} MB")
        return
    if args.measure:
        measure(args.measure)
        return
    print(f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}")
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            root = Path(work) / "store"
            make(root, size, args.parts)
            print(f"{size} clips in {args.parts} parts", flush=True)
            subprocess.run([sys.executable, __file__, "--merge", str(root)], check=True)
            journals = sum(path.stat().st_size for path in root.glob("journal-*.jsonl"))
            index = (root / INDEX).stat().st_size
            print(f"  journals {journals / 1e6:.1f} MB, index {index / 1e6:.1f} MB", flush=True)
            for _ in range(2):
                subprocess.run([sys.executable, __file__, "--measure", str(root)], check=True)


def make(root: Path, size: int, parts: int) -> None:
    """Write a store whose clips share one element."""
    rng = np.random.default_rng(0)
    jpeg = encode_frame(rng.integers(0, 256, (FACE_SIZE, FACE_SIZE, 3), np.uint8), 90)
    element = {**encode_audio(rng.uniform(-0.5, 0.5, WINDOW)), "mjpeg": jpeg * FRAMES}
    for number in range(parts):
        with ElementWriter(root, {"made": "up"}, part=Shard(number, parts)) as writer:
            writer.add(clip(0), [{"start": 0.0, "end": 3.072, "parts": element}])
        with Journal(root / journal_name(number)) as journal:
            (window,) = journal[clip(0)["source"]]["windows"]
        (root / journal_name(number)).unlink()
        with Journal(root / journal_name(number), append=True) as journal:
            for k in range(number, size, parts):
                key = f"{clip(k)['source'].replace('.', '_')}/000000"
                record = {"clip": clip(k), "windows": [{**window, "key": key}], "stamp": [k, k], "stopped_after": None}
                journal.add(record)
        assert (root / shard_name(number, 0)).exists()


def clip(number: int) -> dict[str, Any]:
    person, tier = f"id{number // PER_PERSON:05d}", TIERS[number % len(TIERS)]
    source = f"{tier}/Asian (East)/women/{person}/{number:07d}_id{number % 997:05d}_wavtolip.mp4"
    known: dict[str, Any] = {
        "source": source,
        "tier": tier,
        "identities": [person],
        "base": source,
        "method": "wav2lip",
    }
    return {**known, "race": "Asian (East)", "gender": "women", "sha256": f"{number:064x}"}


def measure(root: Path) -> None:
    figures = {"at start": memory()}
    store, opening = timed(lambda: ElementStore(root))
    figures["open"] = memory()
    identities = sorted({identities[0] for identities in store.metas.coded("identities").values})
    split_of = {person: ("train", "train", "validation", "test")[n % 4] for n, person in enumerate(identities)}
    members, splitting = timed(lambda: assign(store.metas, Lists("made up", split_of)))
    train = store.metas.take(members["train"])
    pairs, pairing = timed(lambda: Paired(train, 32, 0, source="made up"))
    _, balancing = timed(lambda: next(iter(Shuffled(len(train), 32, 0, tiers=coded(train, "tier")))))
    next(iter(pairs))
    everything = Shared(Shuffled(len(store), 32, 0))
    _, ordering = timed(lambda: sum(len(share.draws) for share in everything.shares()))
    figures["with splits and pairs"] = memory()
    keys = [store.metas[int(row)].key for row in np.random.default_rng(1).integers(0, len(store), READS)]
    store.read(keys[0], frames=[0])
    _, reading = timed(lambda: [store.read(key, frames=[0, 40]) for key in keys])
    print(
        f"  open {opening:.3f} s, splits {splitting:.2f} s, pairs {pairing:.2f} s, balanced tiers {balancing:.2f} s, "
        f"order of an epoch {ordering:.2f} s, "
        f"read {1000 * reading / READS:.2f} ms each\n"
        + "\n".join(
            f"  {name:22s} private {own:.0f} MB, shared {shared:.0f} MB" for name, (own, shared) in figures.items()
        )
    )


def timed(work):  # type: ignore[no-untyped-def]
    started = time.process_time()
    return work(), time.process_time() - started


def memory() -> tuple[float, float]:
    """Return the megabytes private to this process, and those that it maps from files."""
    lines = Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines[1:]}
    own = sizes["Private_Dirty"]
    return own, sizes["Rss"] - own


if __name__ == "__main__":
    main()
