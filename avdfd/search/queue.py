"""Trains runs, as many at a time as there are GPUs or as is asked for, each as a process of its own."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from avdfd.core.errors import UserError
from avdfd.core.files import locked
from avdfd.search import results
from avdfd.search.child import Child, Signals, cause, end_all
from avdfd.search.points import Run
from avdfd.search.results import LOCK, LOG, result_of

SCRIPTS = {"pretrain": "pretrain.py", "train": "train.py"}
"""Kind of config -> what trains it; of all others baseline.py."""
GRACE = 60.0  # seconds in which a script can save where it is
ROOT = Path(__file__).resolve().parents[2]
Slot = Mapping[str, str]
"""What the environment of a process has."""


def script_of(run: Run) -> str:
    return SCRIPTS.get(run.config.kind, "baseline.py")


def slots(gpus: str, jobs: int, runs: Sequence[Run] = ()) -> list[Slot]:
    """One for each run that can go at the same time: its GPU, or its part of the cores.

    `gpus` are numbers, "all" or "none", as it is if all `runs` are to be on the CPU. Raises UserError if the machine
    has fewer.
    """
    if runs and all(run.config.device == "cpu" for run in runs):
        gpus = "none"
    count = 0 if gpus == "none" else torch.cuda.device_count()
    if gpus == "all":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        names = visible.split(",") if count else []
    else:
        names = [] if gpus == "none" else gpus.split(",")
        if len(names) > count:
            raise UserError(f"--gpus {gpus}: this machine has {count} usable GPUs; name fewer, or none")
    if names:
        return [{"CUDA_VISIBLE_DEVICES": name.strip()} for _ in range(jobs) for name in names]
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    return [environment] * jobs


class Busy(NamedTuple):
    """A slot and what goes on in it."""

    run: Run
    child: Child
    slot: Slot


def train_all(
    runs: Sequence[Run],
    bases: Mapping[str, Path],
    slots: Sequence[Slot],
    signals: Signals,
    say: Callable[[str], None],
) -> None:
    """Trains those runs that are not done. Ends all of them on a signal.

    `bases` has, for each kind of config, the file that the overrides of its runs are applied to. What another process
    trains is left to it; what fails is noted in its folder (`results`).
    """
    waiting, free = deque(run for run in runs if result_of(run).state != "done"), [*slots]
    busy: list[Busy] = []
    elsewhere: set[Path] = set()
    try:
        while (waiting or busy) and signals.received is None:
            while waiting and free:
                run = waiting.popleft()
                child = start(run, bases[run.config.kind], free[0], say)
                if child is not None:
                    busy.append(Busy(run, child, free.pop(0)))
                elif run.folder not in elsewhere:  # perhaps somebody only looked whether it runs: once more, at the end
                    elsewhere.add(run.folder)
                    waiting.append(run)
                else:
                    say(f"{run.config.name}: another search is at it")
            for one in list(busy):
                code = one.child.poll()
                if code is not None:
                    busy.remove(one)
                    free.append(one.slot)
                    finish(one.run, code, say)
            time.sleep(0.2)
    finally:
        end_all([one.child for one in busy], GRACE)


def start(run: Run, base: Path, slot: Slot, say: Callable[[str], None]) -> Child | None:
    """Starts the training script; None if another search has the run."""
    run.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / script_of(run)), "--config", str(base), "--resume", *run.overrides]
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(run.folder / LOCK, run.folder))
        except UserError:
            return None
        results.forget(run)
        say(f"{run.config.name}: begins, {run.folder / LOG}")
        return Child(command, log=run.folder / LOG, environment=environment(slot), lock=lock)


def environment(slot: Slot) -> dict[str, str]:
    """Of a process in a slot. A bar in a file is a line for each of its states: few of them."""
    return {"TQDM_MININTERVAL": "30", **os.environ, **slot}


def finish(run: Run, code: int, say: Callable[[str], None]) -> None:
    """Notes how a run has ended, and says so."""
    results.record(run, code, "" if code == 0 else cause(code, run.folder / LOG))
    result = result_of(run)
    if result.state == "done":
        metric = run.config.select.metric
        how = f"{metric} {result.value:.4f} in epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s"
    else:
        how = f"{result.state}: {result.reason}" if result.reason else result.state
    say(f"{run.config.name}: {how}")
