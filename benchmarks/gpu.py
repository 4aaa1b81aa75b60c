"""Speed of training on a GPU, within a given time: every system as released and as ours.

    bash benchmarks/gpu.sh [--seconds 540] [--only TEXT]     writes benchmarks/gpu/<card>-<date>.json and .md
    python benchmarks/gpu.py --toy --out FOLDER              the same at toy sizes, on a CPU too: a test, no measurement

"released" is what the published code executes, as in training_speed.py and baselines.py; ours are the steps of
pretrain.py, train.py and baseline.py in bf16. Weights are drawn, inputs generated.

- steps: on batches that are on the GPU already. Clips per second, MFU (operations that ours need, counted on the model,
  as a fraction of the data sheet's peak), memory, and the time of the first steps, which includes compilation.
- fed: the same, read from files in the system's cache by loader processes, or from where `data.home` auto keeps them;
  frames are decoded by loader processes, or by nvJPEG in the forms that say so;
  also the fraction of time that the step waits for data.
- batches: clips per second and memory of growing batches until memory is full, and the largest batch, by extrapolation
  with 5 % left free.
- attention: milliseconds of its back ends, forward and backward, in the shapes that ours meet.
- kernels: the ten with the most time of their own.

The most important measurements come first. The file is written after each; at the end of the time what runs is
interrupted, and the file names what was left out. A measurement that fails is named with its reason.
"""

import argparse
import datetime
import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from avdfd.core.files import write_atomic
from avdfd.training import loop
from avdfd.training.attention import MEASURED
from avdfd.training.distributed import World, pick_device
from avdfd.training.flops import peak
from avdfd.training.meter import Meter
from benchmarks.gpu_report import markdown
from benchmarks.gpu_tasks import Running, Task, side_of, tasks
from benchmarks.training_data import write_data
from benchmarks.training_speed import matmul_rate

ROOT = Path(__file__).resolve().parent.parent
DECODED = "decoded on the GPU"
FED = ("stage 2, full", "stage 2, frozen", "stage 2, cached", "stage 1")
BATCHES = (*FED, "XLS-R 300M, trained", "AVFF finetune", "MRDF")
KERNELS = ("stage 2, full", "stage 2, frozen", "stage 1", "AVFF finetune")
_WARM_UP = 3
_END = 5.0  # seconds kept for writing and for ending processes
_FREE = 0.05  # of memory


class OutOfTimeError(Exception):
    """The time is over."""


class Bench:
    """The measurements, and the file that holds those that are done."""

    def __init__(
        self, device: torch.device, out: Path, *, toy: bool, seconds: float, passed: float, workers: int
    ) -> None:
        """`passed` of the seconds are over already."""
        self.device, self.toy, self.workers = device, toy, workers
        self.each, self.started = 0.0 if toy else 2.0, time.monotonic() - passed
        self.until = self.started + seconds - _END
        self.document: dict[str, Any] = {**facts(device), "toy": toy, "seconds_allowed": seconds, "seconds": 0.0}
        self.document |= {"results": [], "failed": {}, "left_out": []}
        card = re.sub(r"[^a-z0-9]+", "-", self.document["card"].lower()).strip("-")
        self.path = out / f"{'toy-' if toy else ''}{card}-{self.document['date']}.json"
        self._needed: dict[str, float] = {}
        self._folder = tempfile.TemporaryDirectory()

    def run(self, plan: Sequence[tuple[str, Task]]) -> None:
        """Take the measurements in this order until the time is over."""
        todo = {f"{kind}: {task.name}": (kind, task) for kind, task in plan}
        self.document["left_out"] = [*todo]
        try:
            self.document["matmul_tflops"] = matmul_rate(self.device) / 1e12
            for name, (kind, task) in todo.items():
                started = time.monotonic()
                self._take(name, kind, task)
                print(
                    f"{time.monotonic() - self.started:6.0f} s  {name} ({time.monotonic() - started:.1f} s)", flush=True
                )
        except OutOfTimeError:
            pass
        finally:
            self.write()
            self._folder.cleanup()

    def write(self) -> None:
        """Write the document, as JSON and as tables."""
        self.document["seconds"] = round(time.monotonic() - self.started, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, (json.dumps(self.document, indent=1) + "\n").encode())
        write_atomic(self.path.with_suffix(".md"), markdown(self.document).encode())

    def _take(self, name: str, kind: str, task: Task) -> None:
        how: dict[str, Callable[[Task], dict[str, Any]]] = {
            "steps": self._steps,
            "fed": self._fed,
            "batches": self._batches,
            "kernels": self._kernels,
        }
        try:
            values = how[kind](task)
            self.document["results"].append({"kind": kind, "system": task.system, "form": task.form, **values})
        except (RuntimeError, ImportError, OSError, AssertionError) as error:  # the others can still be measured
            if time.monotonic() >= self.until:  # a compiler may have wrapped the interruption
                raise OutOfTimeError from error
            self.document["failed"][name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
        self.document["left_out"].remove(name)
        self.document["attention"] = {str(call): times for (_, call), times in MEASURED.items()}
        self.write()
        gc.collect()
        torch._dynamo.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _steps(self, task: Task) -> dict[str, Any]:
        running, clips = self._start(task), task.clips
        batch = running.batch(clips)
        return self._measure(running, itertools.repeat(batch), clips, self._flops(task, running))

    def _flops(self, task: Task, running: Running) -> float:
        """Return the operations per clip that a system needs: for the released form those of ours, where known."""
        if task.form == "released" and task.system in self._needed:
            return self._needed[task.system]
        count = running.flops(running.batch(task.least))
        self._needed.setdefault(task.system, count)
        return count

    def _fed(self, task: Task) -> dict[str, Any]:
        running = self._start(task)
        assert running.fed is not None, f"{task.system} is not read from files here"
        video = task.system != "stage 1"
        folder = Path(self._folder.name) / ("video" if video else "audio")
        clips = 2 if self.toy else 32 if video else task.clips
        if not folder.exists():
            write_data(folder, 4 * clips, video=video, side=side_of(toy=self.toy))
        flops = self._flops(task, running)
        batches = running.fed(folder, clips, self.workers)
        for _ in range(4):  # an epoch, in which elements that stay in memory are read
            running.step(next(batches))
        return self._measure(running, batches, clips, flops)

    def _batches(self, task: Task) -> dict[str, Any]:
        running = self._start(task)
        rows: list[dict[str, Any]] = []
        clips = max(task.least, task.clips // 4 // task.least * task.least)
        flops = self._flops(task, running)
        while len(rows) < (2 if self.device.type == "cpu" else 12):
            try:
                row = self._measure(running, itertools.repeat(running.batch(clips)), clips, flops)
            except torch.OutOfMemoryError:
                break
            rows.append({key: row[key] for key in ("clips", "clips_per_second", "memory_gb")})
            clips *= 2
        found: dict[str, Any] = {"rows": rows}
        if self.device.type == "cuda" and len(rows) > 1:
            (few, less), (many, more) = ((row["clips"], row["memory_gb"]) for row in rows[-2:])
            free = (1 - _FREE) * self.document["memory_gb"] - more
            found["largest"] = int(many + free * (many - few) / (more - less)) if more > less else None
        return found

    def _kernels(self, task: Task) -> dict[str, Any]:
        running = self._start(task)
        batch, steps = running.batch(task.clips), 3
        for _ in range(_WARM_UP):
            running.step(batch)
        with torch.profiler.profile() as found:
            for _ in range(steps):
                running.step(batch)
            self._wait()
        by = "self_device_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
        events = sorted(found.key_averages(), key=lambda event: -getattr(event, by))
        total = sum(getattr(event, by) for event in events)
        rows = [
            {
                "kernel": event.key[:120],
                "ms_per_step": getattr(event, by) / 1000 / steps,
                "share": getattr(event, by) / total,
                "calls_per_step": event.count / steps,
            }
            for event in events[:10]
        ]
        return {"clips": task.clips, "rows": rows}

    def _start(self, task: Task) -> Running:
        loop.seed_everything(0)
        return task.start(self.device)

    def _measure(self, running: Running, batches: Iterator[Any], clips: int, flops: float) -> dict[str, Any]:
        """Return the values of `Meter` for steps on these batches, after some that are not measured."""
        started = time.monotonic()
        for _ in range(1 if self.toy else _WARM_UP):
            running.step(next(batches))
        self._wait()
        first = time.monotonic() - started
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        meter, until, steps = Meter(World(self.device), "bf16"), time.monotonic() + self.each, 0
        for batch in meter.watch(batches):
            running.step(batch)
            meter.count(clips, flops)
            steps += 1
            if steps > 1 and time.monotonic() > until:
                break
        return {"clips": clips, "steps": steps, "first_seconds": first, **meter.values()}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def plan_of(all_tasks: Sequence[Task], only: str) -> list[tuple[str, Task]]:
    """Return the measurements whose name has `only` in it, the most important first."""
    others = ("compiled", "checkpointing", DECODED)
    plain = [task for task in all_tasks if not any(word in task.form for word in others)]
    decoded = [task for task in all_tasks if DECODED in task.form]  # the same steps, fed otherwise
    first: dict[str, Task] = {}
    for task in plain:
        if task.form != "released":
            first.setdefault(task.system, task)
    released = [task for task in plain if task.form == "released"]
    plan = [("steps", task) for task in plain if task.form != "released"]
    plan += [("fed", first[system]) for system in FED]
    plan += [("fed", task) for task in decoded]
    plan += [("steps", task) for task in released]
    plan += [("fed", task) for task in released if task.system in FED]
    plan += [("kernels", first[system]) for system in KERNELS]
    plan += [("batches", first[system]) for system in BATCHES]
    plan += [("steps", task) for task in all_tasks if task not in [*plain, *decoded]]
    return [(kind, task) for kind, task in plan if only in f"{kind}: {task.name}"]


def facts(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the code."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    found: dict[str, Any] = {
        "card": "CPU",
        "date": datetime.date.today().isoformat(),
        "commit": git.stdout.strip() or None,
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        top = peak(properties.name, "bf16")
        found |= {
            "card": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gb": properties.total_memory / 1e9,
            "cuda": torch.version.cuda,
            "peak_tflops": None if top is None else top / 1e12,
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--seconds", type=float, default=540, help="for everything")
    cli.add_argument("--since", type=float, metavar="TIME", help="start of these seconds, in those since 1970; now")
    cli.add_argument("--only", default="", metavar="TEXT", help="measurements with this text in their name")
    cli.add_argument("--toy", action="store_true", help="toy sizes, also on a CPU: no measurement")
    cli.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gpu")
    cli.add_argument("--workers", type=int, default=max(0, len(os.sched_getaffinity(0)) - 2), help="loader processes")
    args = cli.parse_args(argv)
    device = pick_device("auto")
    if device.type == "cpu" and not args.toy:
        cli.error("no usable GPU found; --toy runs the same at toy sizes on a CPU")
    passed = 0.0 if args.since is None else time.time() - args.since
    bench = Bench(device, args.out, toy=args.toy, seconds=args.seconds, passed=passed, workers=args.workers)

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, bench.until - time.monotonic()))
    try:
        bench.run(plan_of(tasks(toy=args.toy), args.only))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    print(f"{bench.path}: {len(bench.document['results'])} measured, {len(bench.document['failed'])} failed, "
          f"{len(bench.document['left_out'])} left out")  # fmt: skip


if __name__ == "__main__":
    main()
