"""Clips per second that a training loop gets: the element store against the pairs of float32 arrays as released.

    python benchmarks/loader_speed.py --store data/demo/elements [--count 400] [--work FOLDER]

Both give the same: z-scored mels (B, 128, 768) and 16 frames (B, 3, 16, 224, 224) uint8, in batches of 8 by a
DataLoader in random order, without augmentation; the released form has its 16 frames as float32 and is read by NumPy.
Cold: the kernel is told to forget the files first, so they come from the disk under --work. Bytes are those of a clip
on disk.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.datasets.loaders import Batch, ElementSet, Inputs, loader
from avdfd.datasets.samplers import Draw, Shuffled
from avdfd.elements import Element, ElementStore
from avdfd.elements.layout import INDEX
from avdfd.features import FACE_SIZE
from benchmarks.element_forms import FRAME_CHOICE, forget

BATCH = 8


class Pairs(Dataset[Batch]):
    """KEY.mel.npy and KEY.frames.npy (16, 224, 224, 3) float32 in [0, 1]."""

    def __init__(self, folder: Path, count: int, inputs: Inputs) -> None:
        self.folder, self.count, self.inputs = folder, count, inputs

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: Draw) -> Any:
        mel = np.load(self.folder / f"{draw.position}.mel.npy")
        frames = (np.load(self.folder / f"{draw.position}.frames.npy") * 255).astype(np.uint8)
        return self.inputs.example(Element(None, mel=mel, frames=frames), None)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--store", type=Path, default=Path("data/demo/elements"))
    cli.add_argument("--count", type=int, default=400)
    cli.add_argument("--work", help="folder on the disk to measure (default: the system's for temporary files)")
    args = cli.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    inputs = Inputs(FACE_SIZE)
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        copy, pairs = Path(work) / "store", Path(work) / "pairs"
        shutil.copytree(args.store, copy)
        store = ElementStore(copy)
        metas = store.metas[:: max(1, len(store) // args.count)][: args.count]
        write_pairs(pairs, store, [meta.key for meta in metas])
        elements = ElementSet(store, metas, inputs)
        released = Pairs(pairs, len(metas), inputs)
        sizes = sum(p.stat().st_size for p in copy.iterdir() if p.name != INDEX) / len(store), size(pairs) / len(metas)
        cores = len(os.sched_getaffinity(0))
        print(f"{len(metas)} clips of {args.store}, {cores} cores; clips/s\n")
        print(
            f"{'form':12s}{'MB per clip':>12s}"
            + "".join(f"{f'{w} workers, {t}':>18s}" for w in (0, 2) for t in TEMPERATURES)
        )
        for name, data, folder, bytes_each in (
            ("store", elements, copy, sizes[0]),
            ("released", released, pairs, sizes[1]),
        ):
            rates = [rate(data, inputs, workers, folder, cold=t == "cold") for workers in (0, 2) for t in TEMPERATURES]
            print(f"{name:12s}{bytes_each / 1e6:12.2f}" + "".join(f"{r:18.1f}" for r in rates), flush=True)


TEMPERATURES = ("cold", "warm")


def write_pairs(folder: Path, store: ElementStore, keys: list[str]) -> None:
    folder.mkdir()
    for number, key in enumerate(keys):
        element = store.read(key, frames=FRAME_CHOICE)
        np.save(folder / f"{number}.mel.npy", element.mel)
        np.save(folder / f"{number}.frames.npy", element.frames.astype(np.float32) / 255)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def rate(data: Any, inputs: Inputs, workers: int, folder: Path, *, cold: bool) -> float:
    order = Shuffled(len(data), BATCH, 0)
    batches: DataLoader[Any]
    if isinstance(data, ElementSet):
        batches = loader(data, order, workers, torch.device("cpu"))
    else:
        batches = DataLoader(data, batch_sampler=order, num_workers=workers, collate_fn=inputs.collate)
    if workers:
        next(iter(batches))  # its processes have started
    if cold:
        forget(folder)
    started = time.perf_counter()
    clips = sum(len(batch.label) for batch in batches)
    return clips / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
