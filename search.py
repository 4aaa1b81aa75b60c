"""Tries settings of a training script, each with several seeds, and says which validates best.

    bash search.sh                                          the published grid of stage 2, on every GPU of the machine
    python search.py --config config/search/demo.json --jobs 2
    sbatch --array=0-15 search.sh                           16 tasks: --shard 0/16 ... --shard 15/16
    python search.py --config config/search/stage2.json --report

A run is the training script itself with `--resume` and overrides. What is done is not done again; what was stopped
goes on, and what failed is tried again, when the search is started again. Selection is on validation alone.
"""

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from matplotlib.figure import Figure

from avdfd import plots
from avdfd.config import SearchConfig, load
from avdfd.errors import UserError, run_script
from avdfd.files import ensure_writable, held, write_atomic
from avdfd.parts import parse_part
from avdfd.search import results
from avdfd.search.child import Child, Signals, cause, end_all
from avdfd.search.points import Run, as_override, check_unchanged, expand
from avdfd.search.results import LOCK, LOG, Row, best_of, result_of

SCRIPTS = {"pretrain": "pretrain.py", "train": "train.py"}
"""Kind of config -> what trains it; of all others baseline.py."""
BASE = "base.json"
GRACE = 60.0  # seconds in which a script can save where it is
SHOWN = 10  # settings that are printed


def main(argv: list[str]) -> int:
    cli = argparse.ArgumentParser(description="Tries settings of a training script.", allow_abbrev=False)
    cli.add_argument("--config", default="config/search/stage2.json")
    cli.add_argument("--gpus", default="all", help="numbers of GPUs, such as 0,2, all or none (default: all)")
    cli.add_argument("--jobs", type=int, default=1, help="runs at a time, on each GPU or on the CPU")
    cli.add_argument("--shard", default="0/1", help="i/n: the runs i, i + n, ..., as one of n tasks")
    cli.add_argument("--list", action="store_true", help="show the runs, and train nothing")
    cli.add_argument("--report", action="store_true", help="write the tables of what is there, and train nothing")
    args, overrides = cli.parse_known_args(argv)
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: at least one run at a time")
    cfg = load(args.config, SearchConfig, overrides=overrides)
    part = parse_part(args.shard)
    root = Path(cfg.runs) / cfg.name
    if (root / "config.json").exists():
        raise UserError(f"{root}: is the folder of a training run; change the search's 'name'")
    runs = expand(cfg, args.config)
    check_unchanged(runs)
    if args.list:
        for number, run in enumerate(runs):
            print(f"{number:>4}  {run.config.name}  {result_of(run).state}")
        print(f"{len(runs)} runs; one task each: sbatch --array=0-{len(runs) - 1} search.sh")
        return 0
    mine = [] if args.report else runs[part.number :: part.of]
    signum = None
    if mine:
        ensure_writable(root)
        # Runs that start later are made from what was checked now, whatever becomes of the file.
        write_atomic(root / BASE, Path(cfg.config).read_bytes())
        on_cpu = args.gpus == "none" or all(run.config.device == "cpu" for run in mine)
        with Signals() as signals:
            train_all(mine, root, slots("none" if on_cpu else args.gpus, args.jobs), signals)
        signum = signals.received
    rows = report(cfg, runs, root)
    print_best(cfg, rows)
    if signum is not None:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130 if signum == signal.SIGINT else 75
    return int(any(result_of(run).state != "done" for run in mine))


# ---- training


def slots(gpus: str, jobs: int) -> list[dict[str, str]]:
    """What the environment of each run that can go at the same time has: its GPU, or its part of the cores."""
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
    slot: dict[str, str]


def train_all(runs: list[Run], root: Path, free: list[dict[str, str]], signals: Signals) -> None:
    """Trains what is not done, as many runs at a time as there are slots. Ends all of them on a signal."""
    waiting = deque(run for run in runs if result_of(run).state != "done")
    print(f"{root}: {len(runs)} runs, {len(runs) - len(waiting)} done before, {len(free)} at a time", flush=True)
    busy: list[Busy] = []
    elsewhere: set[Path] = set()
    try:
        while (waiting or busy) and signals.received is None:
            while waiting and free:
                run = waiting.popleft()
                child = start(run, root / BASE, free[0])
                if child is not None:
                    busy.append(Busy(run, child, free.pop(0)))
                elif run.folder not in elsewhere:  # perhaps somebody only looked whether it runs: once more, at the end
                    elsewhere.add(run.folder)
                    waiting.append(run)
                else:
                    print(f"{run.config.name}: another search is at it", flush=True)
            for one in list(busy):
                code = one.child.poll()
                if code is not None:
                    busy.remove(one)
                    free.append(one.slot)
                    finish(one.run, code)
            time.sleep(0.2)
    finally:
        end_all([one.child for one in busy], GRACE)


def start(run: Run, base: Path, slot: dict[str, str]) -> Child | None:
    """Starts the training script; None if another search has the run."""
    run.folder.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).resolve().parent / script_of(run)
    command = [sys.executable, str(script), "--config", str(base), "--resume", *run.overrides]
    # A bar in a file is a line for each of its states: few of them.
    environment = {"TQDM_MININTERVAL": "30", **os.environ, **slot}
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(held(run.folder / LOCK, run.folder))
        except UserError:
            return None
        results.forget(run)
        print(f"{run.config.name}: begins, {run.folder / LOG}", flush=True)
        return Child(command, log=run.folder / LOG, environment=environment, lock=lock)


def finish(run: Run, code: int) -> None:
    """Notes how a run has ended, and says so."""
    results.record(run, code, "" if code == 0 else cause(code, run.folder / LOG))
    result = result_of(run)
    if result.state == "done":
        metric = run.config.select.metric
        how = f"{metric} {result.value:.4f} in epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s"
    else:
        how = f"{result.state}: {result.reason}" if result.reason else result.state
    print(f"{run.config.name}: {how}", flush=True)


# ---- report


def report(cfg: SearchConfig, runs: list[Run], root: Path) -> list[Row]:
    """Writes results.csv, .md and .png of what is there, and returns the table's rows."""
    rows = results.ranked([result_of(run) for run in runs])
    metric = runs[0].config.select.metric
    ensure_writable(root)
    write_atomic(root / "results.csv", results.as_csv(rows, metric).encode())
    write_atomic(root / "results.md", results.as_markdown(cfg.name, rows, metric).encode())
    if any(row.done for row in rows):
        write_atomic(root / "results.png", plots.encode(figure(cfg, rows, metric), ".png"))
    print(f"\n{results.as_table(rows[:SHOWN], metric)}")
    print(f"{len(rows)} settings: {root}/results.md, .csv and .png" if len(rows) > SHOWN else f"{root}/results.md")
    return rows


def figure(cfg: SearchConfig, rows: list[Row], metric: str) -> Figure:
    """The metric of all runs that are done, against each key that is varied."""
    lists = {**cfg.grid, **{key: draw.choices for key, draw in cfg.random.items()}} or {"config": [cfg.config]}
    scales: dict[str, list[str] | Literal["linear", "log"]] = {}
    for key, values in lists.items():
        scales[key] = [*map(results.text, values)] if values else "log" if cfg.random[key].log else "linear"

    def place(key: str, value: Any) -> float:
        values = lists[key]
        return values.index(value) if values else value

    points = []
    for row in rows:
        settings = row.point.settings or {"config": cfg.config}
        points.append(({key: place(key, value) for key, value in settings.items()}, row.values))
    return plots.sweep(points, scales, f"validation {metric}", 0 if best_of(rows) else None)


def print_best(cfg: SearchConfig, rows: list[Row]) -> None:
    """The best setting, and the commands that train it anew and evaluate its runs."""
    best = best_of(rows)
    if best is None:
        print("no setting has all its seeds yet")
        return
    spread = f" ± {best.deviation:.4f}" if best.deviation is not None else ""
    run = best.results[0].run
    mean = f"validation {run.config.select.metric} {best.mean:.4f}{spread}"
    print(f"best: {best.point.name}, {mean}, seeds: {len(best.done)}")
    changes = {**cfg.overrides, **best.point.settings, "name": f"{cfg.name}-best"}
    arguments = shlex.join(as_override(key, value) for key, value in changes.items())
    shell = script_of(run).replace(".py", ".sh")
    print(f"  train:     CONFIG={shlex.quote(cfg.config)} bash {shell} {arguments}")
    for result in best.done:
        print(f"  evaluate:  bash evaluate.sh --run {shlex.quote(str(result.run.folder))} --split test")


def script_of(run: Run) -> str:
    return SCRIPTS.get(run.config.kind, "baseline.py")


if __name__ == "__main__":
    run_script(main)
