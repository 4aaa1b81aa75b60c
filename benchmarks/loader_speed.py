"""Clips per second in a training loop: elements at every location, against float32 arrays as released.

    python benchmarks/loader_speed.py --store data/demo/elements [--count 400] [--work FOLDER] [--device cuda]

"audio" is the input of stage 1, z-scored mels (B, 128, 768) in batches of 64; "frames" that of stage 2, with
16 frames (B, 3, 16, 224, 224) and the mel, in batches of 8. All in random order, without augmentation, on the
device. The released form is a mel.npy, and a float32 .npy of the 16 frames, read by NumPy.

First: start of the loader processes, and an epoch after the files were dropped from the kernel's cache, so that they
come from the disk under --work; memory is filled in this epoch. Later: the next epoch, and the CPU time of the main
process per clip, on which other work on the machine has little influence. Bytes are those of a clip at its location.
Last: what the checksums of a store cost in an epoch without loader processes.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.datasets.batches import Batches, reads_on
from avdfd.datasets.loaders import ElementSet, Inputs, to_device
from avdfd.datasets.residency import Place, size_of
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore, ElementTable
from avdfd.features.mel import zscore
from avdfd.features.window import FACE_SIZE
from benchmarks.element_forms import FRAME_CHOICE, forget

BATCH = {"audio": 64, "frames": 8}
PAIRS = {"audio": 200, "frames": 20}
"""Pairs of epochs, without and with checksums."""
WORKERS = (0, 2)


class Released(NamedTuple):
    mel: Tensor
    video: Tensor


class Pairs(Dataset[Released]):
    """KEY.mel.npy and KEY.frames.npy (16, 224, 224, 3) float32 in [0, 1]."""

    def __init__(self, folder: Path, count: int, *, with_frames: bool) -> None:
        self.folder, self.count, self.with_frames = folder, count, with_frames

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Released:
        mel = zscore(torch.from_numpy(np.load(self.folder / f"{position}.mel.npy")))
        if not self.with_frames:
            return Released(mel, mel[:0])
        frames = torch.from_numpy(np.load(self.folder / f"{position}.frames.npy"))
        return Released(mel, frames.permute(3, 0, 1, 2))


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--store", type=Path, default=Path("data/demo/elements"))
    cli.add_argument("--count", type=int, default=400)
    cli.add_argument("--work", help="folder on the disk to measure (default: the system's for temporary files)")
    cli.add_argument("--device", default="cpu")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    device = torch.device(args.device)
    places: tuple[Place, ...] = ("disk", "memory", "gpu") if device.type == "cuda" else ("disk", "memory")
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        copy, pairs = Path(work) / "store", Path(work) / "pairs"
        shutil.copytree(args.store, copy)
        store = ElementStore(copy)
        metas = store.metas[:: max(1, len(store) // args.count)][: args.count]
        write_pairs(pairs, store, [meta.key for meta in metas])
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(f"{len(metas)} clips of {args.store}, {device}, {cores} cores, load average {load:.1f}; clips/s\n")
        print(f"{'':22s}{'MB/clip':>10s}" + "".join(f"{f'{w} workers, {t}':>20s}" for w in WORKERS for t in COLUMNS))
        for kind in BATCH:
            elements = ElementSet(store, metas, Inputs(FACE_SIZE if kind == "frames" else None))

            def released(workers: int, kind: str = kind) -> Iterator[Any]:
                return read_pairs(Pairs(pairs, len(metas), with_frames=kind == "frames"), kind, workers, device)

            show(f"{kind}, released", size(pairs, kind) / len(metas), released, pairs, device)
            for place in places:

                def fed(
                    workers: int, place: Place = place, kind: str = kind, elements: Any = elements
                ) -> Iterator[Any]:
                    order = Shared(Shuffled(len(metas), BATCH[kind], 0))
                    data = Batches(elements, order, device, workers=workers, place=place)
                    while True:
                        yield from (batch for _, batch in data)
                        yield None

                show(f"{kind}, {place}", kept(elements, place, device), fed, copy, device)
        print()
        for kind in BATCH:
            cost = cost_of_checksums(store, metas, kind)
            added = "{:+.1%} [{:+.1%}, {:+.1%}]".format(*cost.added)
            print(f"{kind}: {cost.plain:.3f} ms without checksums, {cost.checked:.3f} ms with them, {added}")


COLUMNS = ("first", "later", "ms")


def show(name: str, bytes_each: float, batches: Callable[[int], Iterator[Any]], folder: Path, device: Any) -> None:
    """Print the rates of an endless sequence of epochs, each of which ends with None."""
    line = f"{name:22s}{bytes_each / 1e6:10.2f}"
    for workers in WORKERS:
        endless = batches(workers)
        forget(folder)
        (first, _), (later, own) = (rate(endless, device) for _ in range(2))
        line += f"{first:20.1f}{later:20.1f}{1000 * own:20.2f}"
    print(line, flush=True)


def rate(batches: Iterator[Any], device: torch.device) -> tuple[float, float]:
    """Return clips per second of an epoch, and seconds of this process per clip."""
    started, own = time.perf_counter(), time.process_time()
    clips = sum(len(batch.mel) for batch in iter(lambda: next(batches), None))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clips / (time.perf_counter() - started), (time.process_time() - own) / clips


class Cost(NamedTuple):
    """Milliseconds of this process per clip, medians, and what checksums add."""

    plain: float
    checked: float
    added: tuple[float, float, float]
    """Median of the ratios of successive epochs, less 1, and its interval of 95 %."""


def cost_of_checksums(store: ElementStore, metas: ElementTable, kind: str) -> Cost:
    """Measure reading without and with checksums from the kernel's cache, in epochs that alternate."""
    elements = ElementSet(store, metas, Inputs(FACE_SIZE if kind == "frames" else None))
    data = Batches(elements, Shared(Shuffled(len(metas), BATCH[kind], 0)), torch.device("cpu"), workers=0, place="disk")
    sums = store._numbers["sums"]
    pairs = []
    for number in range(PAIRS[kind]):
        times = {}
        for checked in (False, True) if number % 2 else (True, False):
            store._numbers["sums"] = sums if checked else np.zeros_like(sums)
            started = time.process_time()
            clips = sum(len(batch.mel) for _, batch in data)
            times[checked] = 1000 * (time.process_time() - started) / clips
        pairs.append((times[False], times[True]))
    plain, checks = np.array(pairs).T
    ratios = np.sort(checks / plain) - 1
    reach = 0.98 * np.sqrt(len(ratios))  # of the ranks around the median
    ranks = (np.array([0, -reach, reach]) + (len(ratios) - 1) / 2).round().astype(int).clip(0, len(ratios) - 1)
    return Cost(float(np.median(plain)), float(np.median(checks)), tuple(ratios[ranks].tolist()))


def read_pairs(data: Pairs, kind: str, workers: int, device: torch.device) -> Iterator[Any]:
    pin = device.type == "cuda"
    loader: DataLoader[Released] = DataLoader(
        data, BATCH[kind], shuffle=True, num_workers=workers, pin_memory=pin, persistent_workers=workers > 0
    )
    while True:
        for batch in loader:
            yield to_device(batch, device)
        yield None


def write_pairs(folder: Path, store: ElementStore, keys: list[str]) -> None:
    folder.mkdir()
    for number, key in enumerate(keys):
        element = store.read(key, frames=FRAME_CHOICE)
        np.save(folder / f"{number}.mel.npy", element.mel)
        np.save(folder / f"{number}.frames.npy", element.frames.astype(np.float32) / 255)


def size(folder: Path, kind: str) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.npy" if kind == "frames" else "*.mel.npy"))


def kept(elements: ElementSet, place: Place, device: torch.device) -> float:
    """Return the bytes of a clip at a location; on the disk those that are read."""
    raw = elements.raw([0], reads_on(elements, device))
    if place != "disk":
        return size_of(raw)
    assert isinstance(elements.metas, ElementTable), "the elements are of a store"
    jpegs = elements.metas.numbers("sizes")[:, FRAME_CHOICE].sum(axis=1).mean() if raw.frames is not None else 0
    return raw.audio.nbytes + jpegs


if __name__ == "__main__":
    main()
