"""A training step of the two stages as released against ours, with the least operations and bytes that it needs.

    python benchmarks/training_speed.py [--size small|full] [--device cpu|cuda] [--repeats 5] [--batch N] [--compile]
    python benchmarks/training_speed.py --count                                  operations at the published sizes
    python benchmarks/training_speed.py --size full --device cuda --memory       batches that fit into a GPU
    python benchmarks/training_speed.py --size full --device cuda --profile      time of each operation

"released" is what the published code executes, composed of our modules in faithful mode, which compute the same
numbers (checked first):
- stage 2: attention of the backbone that computes the (N, N) matrix, its softmax, then the product; the backbone runs
  twice, for the tokens and for the global vector; normalised frames and mel as float32 .npy.
- stage 1: float32 .npy of the mel.
- both: fp16 autocast and a GradScaler on a GPU; unfused AdamW; the loss is read after every step; batches are copied
  to the GPU synchronously. nn.TransformerEncoderLayer, which it also uses, is fused in today's torch.
Omitted, in favour of the released code: its logs, metrics, and the greyscale and flips that its files contain.

Ours are the steps of pretrain.py and train.py: bf16 autocast on a GPU, fused AdamW, elements of a store, augmented.
"frozen" is a backbone that is not trained. "step" starts from a batch in memory, "end to end" reads it first: from
files in the system's cache, by loader processes with a GPU and by the same process on a CPU.

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

from avdfd.datasets.residency import size_of
from avdfd.training.flops import peak, training_flops
from benchmarks.baselines import measure
from benchmarks.training_data import Source, made_up, write_data
from benchmarks.training_ways import PUBLISHED, SMALL, Sizes, Way, check, stage1, stage2, take

MEMORY = (24, 40, 80, 141)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--size", choices=("small", "full"), default="small")
    cli.add_argument("--device", default="cpu")
    cli.add_argument("--repeats", type=int, default=5)
    cli.add_argument("--batch", type=int, help="clips per step of stage 2; stage 1 has 16 times as many")
    cli.add_argument("--workers", type=int, help="loader processes")
    cli.add_argument("--compile", action="store_true", help="also with compiled layers")
    cli.add_argument("--memory", action="store_true", help="memory and largest batches instead")
    cli.add_argument("--count", action="store_true", help="only count, at the published sizes")
    cli.add_argument("--profile", action="store_true", help="the operations of our full fine-tuning instead")
    args = cli.parse_args()
    device = torch.device(args.device)
    gpu = device.type == "cuda"
    if args.memory and not gpu:
        cli.error("--memory needs a GPU: --device cuda")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sizes = SMALL if args.size == "small" else PUBLISHED
    batch = args.batch or (32 if gpu else 1)
    workers = args.workers if args.workers is not None else (len(os.sched_getaffinity(0)) - 1 if gpu else 0)
    where = torch.cuda.get_device_name(device) if gpu else "CPU, one thread"
    print(f"{where}, torch {torch.__version__}, size {args.size}, load average {os.getloadavg()[0]:.1f}\n")
    if args.memory:
        memory(sizes, device)
    elif args.count:
        count()
    elif args.profile:
        profile(sizes, batch, device)
    else:
        speed(sizes, batch, workers, device, args.repeats, compiled=args.compile)
        print(f"load average at the end {os.getloadavg()[0]:.1f}")


# ---- measurements


def speed(sizes: Sizes, batch: int, workers: int, device: torch.device, repeats: int, *, compiled: bool) -> None:
    rate = matmul_rate(device)
    sheet = peak(torch.cuda.get_device_name(device), "bf16") if device.type == "cuda" else None
    print(f"matrix products: {rate / 1e12:.3f} TFLOP/s{f', data sheet {sheet / 1e12:.0f}' if sheet else ''}")
    print(f"{'':34s}{'TFLOP':>8s}{'MB read':>9s}{'to device':>10s}{'ceiling':>9s}{'step':>9s}{'share':>7s}", end="")
    print(f"{'x released':>11s}{'end to end':>12s}{'x released':>11s}   clips/s")
    with tempfile.TemporaryDirectory() as folder:
        video = write_data(Path(folder) / "video", 4 * batch, video=True)
        audio_only = write_data(Path(folder) / "audio", 4 * 16 * batch, video=False)
        for group, clips, data in (
            (stage2(sizes, frozen=False, compiled=compiled), batch, video),
            (stage2(sizes, frozen=True, compiled=compiled), batch, video),
            (stage1(sizes), 16 * batch, audio_only),
        ):
            check(*group[:2])
            report(group, clips, data, workers, device, repeats, rate)


def count() -> None:
    """Print operations per clip at the published sizes, and the bytes of a clip on the bus as bytes and as floats."""
    with torch.device("meta"):
        groups = [stage2(PUBLISHED, frozen=False), stage2(PUBLISHED, frozen=True), stage1(PUBLISHED)]
    print(f"{'':34s}{'TFLOP per clip':>16s}")
    for way in (way for group in groups for way in group):
        batch = made_up(1, torch.device("cpu"))
        floats = (
            batch._replace(video=torch.zeros(batch.video.shape)) if way.released and batch.video is not None else batch
        )
        print(f"{way.name:34s}{training_flops(way.model, *way.clips(floats)) / 1e12:16.5f}")


def report(
    group: list[Way], batch: int, folder: Path, workers: int, device: torch.device, repeats: int, rate: float
) -> None:
    """Print a line for each way; the first is the released one."""
    sources = [Source(folder, batch, workers, device, video=way.video, released=way.released) for way in group]
    taken = [take(way, device) for way in group]
    ready = [next(iter(source)) for source in sources]
    work = [training_flops(way.model, *way.clips(x)) for way, x in zip(group, ready, strict=True)]
    there: list[Iterator[Any]] = [itertools.repeat(x) for x in ready]
    steps, whole = (
        measure([advance(step, x) for step, x in zip(taken, batches, strict=True)], repeats, device)[0]
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


def memory(sizes: Sizes, device: torch.device) -> None:
    """Print the memory that steps of two batch sizes reserve, and the largest batch by extrapolation with 5 % free."""
    print(f"{'':34s}{'GB at 8':>9s}{'at 16':>9s}{'MB/clip':>11s}" + "".join(f"{f'in {gb} GB':>12s}" for gb in MEMORY))
    for frozen in (False, True):
        for way in (way for way in stage2(sizes, frozen=frozen) if not way.released):
            way = way._replace(model=way.model.to(device))
            step, used = take(way, device), []
            for clips in (8, 16):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
                for _ in range(3):
                    step(made_up(clips, device))
                used.append(torch.cuda.max_memory_reserved(device))
            each = (used[1] - used[0]) / 8
            fits = [int(8 + (0.95e9 * gb - used[0]) / each) for gb in MEMORY]
            cells = "".join(f"{max(0, n):12d}" for n in fits)
            print(f"{way.name:34s}{used[0] / 1e9:9.2f}{used[1] / 1e9:9.2f}{each / 1e6:11.0f}{cells}", flush=True)
            way.model.cpu()
            del step, way


def profile(sizes: Sizes, batch: int, device: torch.device) -> None:
    """Print the time of each kind of operation in three steps of full fine-tuning."""
    way = stage2(sizes, frozen=False)[1]
    step, x = take(way._replace(model=way.model.to(device)), device), made_up(batch, device)
    step(x)
    with torch.profiler.profile() as found:
        for _ in range(3):
            step(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    by = f"self_{device.type}_time_total"
    print(found.key_averages().table(sort_by=by, row_limit=20, max_name_column_width=60))


if __name__ == "__main__":
    main()
