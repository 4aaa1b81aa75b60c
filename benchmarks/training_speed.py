"""A training step of the two stages as released against ours, with the least operations and bytes that it needs.

    python benchmarks/training_speed.py [--size small|full] [--repeats 5] [--batch N] [--compile]
    python benchmarks/training_speed.py --count                                  operations at the published sizes

It compares on a CPU, pair by pair; a GPU is measured by gpu.py.

"released" is what the published code executes, composed of our modules in faithful mode, which compute the same
numbers (checked first):
- stage 2: attention of the backbone that computes the (N, N) matrix, its softmax, then the product; the backbone runs
  twice, for the tokens and for the global vector; normalised frames and mel as float32 .npy.
- stage 1: float32 .npy of the mel.
- both: unfused AdamW; the loss is read after every step; on a GPU fp16 autocast and a GradScaler.
  nn.TransformerEncoderLayer, which it also uses, is fused in today's torch.
Omitted, in favour of the released code: its logs, metrics, and the greyscale and flips that its files contain.

Ours are the steps of pretrain.py and train.py: bf16 autocast on a GPU, fused AdamW, elements of a store, augmented.
"frozen" is a backbone that is not trained. "step" starts from a batch in memory, "end to end" reads it first, from
files in the system's cache, in the same process.

Floors: our operations are counted on the model (avdfd/training/flops.py; recomputation by checkpointing does not
count), bytes where they are read. The ceiling is the rate at which the device multiplies matrices, measured first, by
operations per clip. Repeats are interleaved. A CPU computes with one thread, whose own time is counted.
Baselines have a benchmark of their own, baselines.py.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import torch

from avdfd.config import SpeedConfig
from avdfd.datasets.residency import size_of
from avdfd.features.window import FACE_SIZE
from avdfd.training.flops import training_flops
from benchmarks.baselines import measure
from benchmarks.training_data import Source, made_up, write_data
from benchmarks.training_ways import PUBLISHED, SMALL, Sizes, Way, check, stage1, stage2, take

CPU = torch.device("cpu")


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--size", choices=("small", "full"), default="small")
    cli.add_argument("--repeats", type=int, default=5)
    cli.add_argument("--batch", type=int, default=1, help="clips per step of stage 2; stage 1 has 16 times as many")
    cli.add_argument("--compile", action="store_true", help="also with compiled layers")
    cli.add_argument("--count", action="store_true", help="only count, at the published sizes")
    args = cli.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sizes = SMALL if args.size == "small" else PUBLISHED
    print(f"CPU, one thread, torch {torch.__version__}, size {args.size}, load average {os.getloadavg()[0]:.1f}\n")
    if args.count:
        count()
    else:
        speed(sizes, args.batch, args.repeats, compiled=args.compile)
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


# ---- measurements


def speed(sizes: Sizes, batch: int, repeats: int, *, compiled: bool) -> None:
    rate = matmul_rate(CPU)
    print(f"matrix products: {rate / 1e12:.3f} TFLOP/s")
    print(f"{'':34s}{'TFLOP':>8s}{'MB read':>9s}{'to device':>10s}{'ceiling':>9s}{'step':>9s}{'share':>7s}", end="")
    print(f"{'x released':>11s}{'end to end':>12s}{'x released':>11s}   clips/s")
    with tempfile.TemporaryDirectory() as folder:
        video = write_data(Path(folder) / "video", 4 * batch, video=True)
        audio_only = write_data(Path(folder) / "audio", 4 * 16 * batch, video=False)
        for group, clips, data in (
            (of_stage2(sizes, frozen=False, compiled=compiled), batch, video),
            (of_stage2(sizes, frozen=True, compiled=compiled), batch, video),
            (of_stage1(sizes), 16 * batch, audio_only),
        ):
            check(*group[:2])
            report(group, clips, data, repeats, rate)


def of_stage1(sizes: Sizes) -> list[Way]:
    return [stage1(sizes, released=True), stage1(sizes)]


def of_stage2(sizes: Sizes, *, frozen: bool, compiled: bool = False) -> list[Way]:
    """Return the released way, ours, and ours with checkpointing or compilation."""
    ways = [stage2(sizes, frozen=frozen, released=True), stage2(sizes, frozen=frozen)]
    if not frozen:
        ways.append(stage2(sizes, frozen=False, speed=SpeedConfig(checkpointing=True), name="checkpointing"))
    if compiled:
        ways.append(stage2(sizes, frozen=frozen, speed=SpeedConfig(compile=True), name="compiled"))
    return ways


def count() -> None:
    """Print operations per clip at the published sizes, and the bytes of a clip on the bus as bytes and as floats."""
    with torch.device("meta"):
        groups = [of_stage2(PUBLISHED, frozen=False), of_stage2(PUBLISHED, frozen=True), of_stage1(PUBLISHED)]
    print(f"{'':34s}{'TFLOP per clip':>16s}")
    for way in (way for group in groups for way in group):
        batch = made_up(1, CPU)
        floats = batch._replace(video=torch.zeros((1, 3, 16, FACE_SIZE, FACE_SIZE))) if way.released else batch
        print(f"{way.name:34s}{training_flops(way.model, *way.clips(floats)) / 1e12:16.5f}")


def report(group: list[Way], batch: int, folder: Path, repeats: int, rate: float) -> None:
    """Print a line for each way; the first is the released one."""
    sources = [Source(folder, batch, 0, CPU, video=way.video, released=way.released) for way in group]
    taken = [take(way, CPU) for way in group]
    ready = [next(iter(source)) for source in sources]
    work = [training_flops(way.model, *way.clips(x)) for way, x in zip(group, ready, strict=True)]
    there: list[Iterator[Any]] = [itertools.repeat(x) for x in ready]
    steps, whole = (
        measure([advance(step, x) for step, x in zip(taken, batches, strict=True)], repeats, CPU)[0]
        for batches in (there, sources)
    )
    for k, (way, source) in enumerate(zip(group, sources, strict=True)):
        floor = work[1]  # the least work, not that of the released way
        step, end, ceiling = 1000 * batch / steps[k], 1000 * batch / whole[k], rate / floor
        to_device = size_of(ready[k]) / batch / 1e6
        print(f"{way.name:34s}{work[k] / 1e12:8.4f}{source.bytes_read / 1e6:9.2f}{to_device:10.2f}", end="")
        print(f"{ceiling:9.1f}{step:9.2f}{step / ceiling:7.0%}{steps[0] / steps[k]:11.2f}", end="")
        print(f"{end:12.2f}{whole[0] / whole[k]:11.2f}", flush=True)


def advance(step: Callable[[Any], None], batches: Iterator[Any]) -> Callable[[], None]:
    return lambda: step(next(batches))


def matmul_rate(device: torch.device) -> float:
    """Return operations per second of the best of ten products of large matrices."""
    gpu = device.type == "cuda"
    n, kind = (8192, torch.bfloat16) if gpu else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))

    def multiply() -> None:
        torch.mm(a, b)

    times, _ = measure([multiply], 10, device)
    return 2 * n**3 / (times[0] / 1000)


if __name__ == "__main__":
    main()
