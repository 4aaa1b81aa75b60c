"""Garbage collection in training steps: by Python's own thresholds, and on the schedule of the training scripts.

    python benchmarks/garbage.py [--steps 300]

Steps of stage 1 at toy sizes, with the modules of the training scripts imported: what a collection costs depends on
the objects of the process, not on the sizes of the model. CPU time of the collections alone.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.training import loop
from benchmarks.training_data import made_up
from benchmarks.training_ways import TOY, as_read, stage1, take


@contextmanager
def collections() -> Iterator[list[tuple[int, float]]]:
    """Record generation and CPU seconds of every collection."""
    found: list[tuple[int, float]] = []
    started = 0.0

    def note(phase: str, about: dict[str, Any]) -> None:
        nonlocal started
        if phase == "start":
            started = time.thread_time()
        else:
            found.append((about["generation"], time.thread_time() - started))

    gc.callbacks.append(note)
    try:
        yield found
    finally:
        gc.callbacks.remove(note)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--steps", type=int, default=300)
    args = cli.parse_args()
    cpu = torch.device("cpu")
    way = stage1(TOY)
    step, batch = take(way, cpu), as_read(way, made_up(4, cpu, video=False))
    for _ in range(20):
        step(batch)
    gc.collect()
    print(f"{len(gc.get_objects()):,} objects")
    schedules: dict[str, AbstractContextManager[Any]] = {
        "Python's thresholds": nullcontext(), "scheduled": loop.scheduled_collection(),
    }  # fmt: skip
    for name, schedule in schedules.items():
        started = time.thread_time()
        with collections() as found, schedule:
            for number in range(1, args.steps + 1):
                step(batch)
                if name == "scheduled" and number % loop.COLLECT_EVERY == 0:
                    gc.collect(1)
            within = [*found]
        total = time.thread_time() - started
        print(f"{name}: {len(within)} collections in {args.steps} steps, {1000 * sum(s for _, s in within):.1f} ms of "
              f"{1000 * total:.0f}, the longest {1000 * max((s for _, s in within), default=0):.1f} ms, by generation "
              f"{[sum(one == g for one, _ in within) for g in range(3)]}; at the end of the epoch "
              f"{1000 * sum(s for _, s in found[len(within):]):.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
