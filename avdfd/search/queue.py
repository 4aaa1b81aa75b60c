"""Training of runs in parallel, each in its own process, with one or more per GPU."""

import contextlib
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, locked
from avdfd.search import results
from avdfd.search.child import Child, Signals, cause, end_all
from avdfd.search.points import Run
from avdfd.search.results import LOCK, LOG, result_of

SCRIPTS = {"pretrain": "pretrain.py", "train": "train.py"}
"""Kind of config -> its training script; all other kinds are trained by baseline.py."""
GRACE = 60.0  # seconds for a script to save its state
PATIENCE = 60.0  # seconds to wait for a run that another process has locked
ROOT = Path(__file__).resolve().parents[2]
_GPU = r"(?:\d+|(?:GPU|MIG)-[\w/-]+)"
"""Number of a GPU, or its name as CUDA_VISIBLE_DEVICES takes it."""
Slot = Mapping[str, str]
"""Environment variables that assign a GPU or a share of the cores to a process."""


def script_of(run: Run) -> str:
    return SCRIPTS.get(run.config.kind, "baseline.py")


def slots(gpus: str, jobs: int, runs: Sequence[Run] = ()) -> list[Slot]:
    """Return one slot for each run that may be trained at the same time: `jobs` per GPU, or `jobs` on the CPU.

    `gpus` are numbers, "all" or "none"; it counts as "none" if the config of all `runs` sets the CPU. Raises UserError
    for anything else, or if the machine has fewer GPUs.
    """
    if not re.fullmatch(rf"all|none|{_GPU}( *, *{_GPU})*", gpus):
        raise UserError(f"--gpus {gpus}: write numbers such as 0,2, or all or none")
    if runs and all(run.config.device == "cpu" for run in runs):
        gpus = "none"
    count = 0
    if gpus != "none":
        import torch  # here, as it takes two seconds and the runs are processes of their own

        count = torch.cuda.device_count()
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
    """Slot with the run that is trained in it."""

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
    """Train the runs that are not done; end all of them on a signal.

    `bases` maps each kind of config to the file that the overrides of its runs apply to. Runs that another process has
    locked are tried again for PATIENCE seconds, as it may be left by a killed search and about to end, and then
    skipped; failures are recorded in the run folders by `results.record`.
    """
    waiting, free = deque(run for run in runs if result_of(run).state != "done"), [*slots]
    busy: list[Busy] = []
    refused: dict[Path, float] = {}
    try:
        while (waiting or busy) and signals.received is None:
            for _ in range(len(waiting)):
                if not free:
                    break
                run = waiting.popleft()
                if run.folder in refused and result_of(run).state == "done":
                    continue
                child = start(run, bases[run.config.kind], free[0], say, quiet=run.folder in refused)
                if child is not None:
                    busy.append(Busy(run, child, free.pop(0)))
                elif time.monotonic() - refused.setdefault(run.folder, time.monotonic()) < PATIENCE:
                    waiting.append(run)
            for one in list(busy):
                code = one.child.poll()
                if code is not None:
                    busy.remove(one)
                    free.append(one.slot)
                    finish(one.run, code, say)
            time.sleep(0.2)
    finally:
        end_all([one.child for one in busy], GRACE)


def start(run: Run, base: Path, slot: Slot, say: Callable[[str], None], *, quiet: bool = False) -> Child | None:
    """Start the training script; return None if another process has locked the run, and say which unless `quiet`."""
    ensure_writable(run.folder)
    command = [sys.executable, str(ROOT / script_of(run)), "--config", str(base), "--resume", *run.overrides]
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(run.folder / LOCK, run.folder))
        except UserError as error:
            if not quiet:
                say(f"{run.config.name}: {error}")
            return None
        results.forget(run)
        say(f"{run.config.name}: starts, {run.folder / LOG}")
        return Child(command, log=run.folder / LOG, environment=environment(slot), lock=lock)


def environment(slot: Slot) -> dict[str, str]:
    """Return the environment of a process in a slot; progress bars, which go to a file, are updated rarely."""
    return {"TQDM_MININTERVAL": "30", **os.environ, **slot}


def finish(run: Run, code: int, say: Callable[[str], None]) -> None:
    """Record and report how a run ended."""

    results.record(run, code, "" if code == 0 else cause(code, run.folder / LOG))
    result = result_of(run)
    if result.state == "done":
        metric = run.config.select.metric
        how = f"{metric} {result.value:.4f} in epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s"
    else:
        how = f"{result.state}: {result.reason}" if result.reason else result.state
    say(f"{run.config.name}: {how}")
