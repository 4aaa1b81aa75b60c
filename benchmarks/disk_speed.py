"""Reads of training from a store that is not in memory, against plain reads of the same bytes from the same disk.

    python benchmarks/disk_speed.py --folder FOLDER [--gigabytes 2] [--workers 0 1 2 4] [--rounds 3]

FOLDER is on the disk to be measured; a store of generated clips is written there first, and deleted at the end. Before
each measurement the store's pages are given up (posix_fadvise), and the fraction that has gone is checked (mincore).

sequential    the shards from start to end, in blocks of 8 MiB
random        the ranges that training reads, in its order, and nothing else
elements      `ElementStore.read` of the same elements, which also compares checksums and decodes JPEGs
without JPEGs the same without decoding, as for a GPU that decodes them
"""

import argparse
import ctypes
import mmap
import multiprocessing as mp
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.datasets.transforms import FRAME_CHOICE
from avdfd.elements import ElementStore
from avdfd.elements.index import merge
from avdfd.elements.layout import shard_name
from benchmarks.training_data import write_data

_BLOCK = 1 << 23
_ELEMENT = 2.1e6  # bytes of a generated one
READS = {"mel": True, "frames": FRAME_CHOICE}
"""Fields that stage 2 reads on a CPU."""

Job = tuple[Path, list[str]]


def evict(paths: Sequence[Path]) -> float:
    """Give up the pages of files in memory; return the fraction that is still there."""
    left = pages = 0
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            resident, count = _resident(file.fileno())
            left, pages = left + resident, pages + count
    return left / pages


def _resident(file: int) -> tuple[int, int]:
    """Return the pages of a file that are in memory, and all of its pages."""
    size = os.fstat(file).st_size
    count = -(-size // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * count)()
    with mmap.mmap(file, size, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE) as data:
        start = ctypes.c_char.from_buffer(data)
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), found
        )
        del start
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return sum(byte & 1 for byte in found), count


def ranges_of(store: ElementStore, keys: Sequence[str]) -> list[tuple[Path, int, int]]:
    """Return the ranges that training reads of elements: shard, first byte, number of bytes."""
    found = []
    for key in keys:
        row = store.metas.find(key)
        number = {name: int(store.metas.numbers(name)[row]) for name in ("part", "shard", "mel.npy", "mjpeg")}
        path = store.root / shard_name(number["part"], number["shard"])
        sizes = store.metas.numbers("sizes")[row].astype(np.int64)
        starts = number["mjpeg"] + np.cumsum(sizes) - sizes
        found.append((path, number["mel.npy"], 4 * 128 * 768))
        found += [(path, int(starts[k]), int(sizes[k])) for k in FRAME_CHOICE]
    return found


def read_sequential(job: Job) -> int:
    """Read whole files; return the bytes."""
    root, names = job
    block, total = bytearray(_BLOCK), 0
    for name in names:
        with (root / name).open("rb", buffering=0) as file:
            while count := file.readinto(block):
                total += count
    return total


def read_ranges(job: Job) -> int:
    """Read the ranges of elements, and nothing else; return the bytes."""
    files: dict[Path, int] = {}
    total = 0
    for path, start, count in ranges_of(ElementStore(job[0]), job[1]):
        if path not in files:
            files[path] = os.open(path, os.O_RDONLY)
        total += len(os.pread(files[path], count, start))
    for file in files.values():
        os.close(file)
    return total


def read_elements(job: Job) -> int:
    """Read elements as training does, and decode their frames."""
    return _elements(job, encoded=False)


def read_encoded(job: Job) -> int:
    """Read elements as training does for a GPU that decodes the frames."""
    return _elements(job, encoded=True)


def _elements(job: Job, *, encoded: bool) -> int:
    store = ElementStore(job[0])
    for key in job[1]:
        store.read(key, **READS, encoded=encoded)  # type: ignore[arg-type]
    return sum(count for _, _, count in ranges_of(store, job[1]))


def measure(how: Callable[[Job], int], root: Path, names: Sequence[str], workers: int) -> tuple[float, float]:
    """Return bytes per second of some processes, and the fraction of the store that was in memory at the start."""
    jobs = [(root, [*names[number::workers]]) for number in range(workers)]
    with mp.get_context("fork").Pool(workers) as pool:
        pool.map(abs, range(workers))  # they have started
        left = evict(sorted(root.glob("shard-*.tar")))
        started = time.monotonic()
        total = sum(pool.map(how, jobs, chunksize=1))
        return total / (time.monotonic() - started), left


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--folder", type=Path, required=True, help="on the disk to be measured")
    cli.add_argument("--gigabytes", type=float, default=2.0, help="size of the store")
    cli.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="processes that read")
    cli.add_argument("--rounds", type=int, default=3, help="repetitions, of which the median counts")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = write_data(Path(folder), max(8, round(args.gigabytes * 1e9 / _ELEMENT)), video=True, side=8) / "elements"
        merge(root)
        shards = sorted(root.glob("shard-*.tar"))
        store = ElementStore(root)
        order = np.random.default_rng(0).permutation(len(store))
        keys = [store.metas[int(position)].key for position in order]
        size = sum(path.stat().st_size for path in shards)
        print(f"{len(store)} elements, {size / 1e9:.2f} GB in {len(shards)} shards, load {os.getloadavg()[0]:.1f}")
        ways: dict[str, tuple[Callable[[Job], int], Sequence[str]]] = {
            "sequential": (read_sequential, [path.name for path in shards]),
            "random": (read_ranges, keys),
            "elements": (read_elements, keys),
            "without JPEGs": (read_encoded, keys),
        }
        for workers in args.workers:
            rates: dict[str, list[float]] = {name: [] for name in ways}
            most = 0.0
            for _ in range(args.rounds):  # in turn, as a disk that others use changes its speed
                for name, (how, names) in ways.items():
                    rate, left = measure(how, root, names, workers)
                    rates[name].append(rate)
                    most = max(most, left)
            middle = {name: statistics.median(found) for name, found in rates.items()}
            listed = ", ".join(f"{name} {rate / 1e6:,.0f} MB/s" for name, rate in middle.items())
            parts = [f"{name} {middle[name] / middle['random']:.2f}" for name in ("elements", "without JPEGs")]
            print(f"{workers} processes: {listed}; of random reads: {', '.join(parts)}; in memory at a start: at most "
                  f"{100 * most:.0f}%", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
