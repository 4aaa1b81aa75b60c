"""Search over settings of a training script, each with several seeds; name the best on validation.

    bash search.sh                                          the published grid of stage 2, on every GPU of the machine
    python search.py --config config/search/demo.json --jobs 2
    sbatch --array=0-15 search.sh                           16 tasks: --shard 0/16 ... --shard 15/16
    python search.py --config config/search/stage2.json --report

Each run calls the training script with `--resume` and overrides. When a search is started again, finished runs are
kept, stopped ones are resumed and failed ones are tried again. Selection is on validation only.
"""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avdfd.config import SearchConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, write_atomic
from avdfd.core.shards import parse_shard
from avdfd.report import plots
from avdfd.search import results
from avdfd.search.child import Signals
from avdfd.search.points import Run, as_override, check_unchanged, expand
from avdfd.search.queue import script_of, slots, train_all
from avdfd.search.results import SearchRow, best_of, result_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASE = "base.json"
SHOWN = 10  # number of printed settings


def main(argv: list[str]) -> int:
    cli = Parser(description="Search over settings of a training script.")
    cli.add_argument("--config", default="config/search/stage2.json")
    cli.add_argument("--gpus", default="all", help="GPU numbers such as 0,2, or all or none (default: all)")
    cli.add_argument("--jobs", type=int, default=1, help="runs at a time, on each GPU or on the CPU")
    cli.add_argument("--shard", default="0/1", help="i/n: train the runs i, i + n, ... as one of n tasks")
    cli.add_argument("--list", action="store_true", help="list the runs and stop")
    cli.add_argument("--report", action="store_true", help="write the tables of existing results and stop")
    args, overrides = cli.parse_known_args(argv)
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: must be at least 1")
    cfg = load(args.config, SearchConfig, overrides=overrides)
    shard = parse_shard(args.shard)
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
    mine = [] if args.report else runs[shard.number :: shard.of]
    free = slots(args.gpus, args.jobs, mine)
    ended = None
    if mine:
        ensure_writable(root)
        # Runs that start later use the config that was checked now, even if the file changes.
        write_atomic(root / BASE, Path(cfg.config).read_bytes())
        done = sum(result_of(run).state == "done" for run in mine)
        print(f"{root}: {len(mine)} runs, {done} already done, {len(free)} at a time", flush=True)
        with Signals() as signals:
            train_all(mine, {mine[0].config.kind: root / BASE}, free, signals, partial(print, flush=True))
        ended = signals.exit_code
    rows = report(cfg, runs, root)
    print_best(cfg, rows)
    if ended is not None:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return ended
    return int(any(result_of(run).state != "done" for run in mine))


# ---- report


def report(cfg: SearchConfig, runs: list[Run], root: Path) -> list[SearchRow]:
    """Write results.csv, .md and .png of the existing results; return the rows of the table."""
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


def figure(cfg: SearchConfig, rows: list[SearchRow], metric: str) -> "Figure":
    """Plot the metric of all finished runs against each varied key."""
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


def print_best(cfg: SearchConfig, rows: list[SearchRow]) -> None:
    """Print the best setting, and the commands that train it again and evaluate its runs."""
    best = best_of(rows)
    if best is None:
        print("no setting is complete yet")

        return
    spread = f" ± {best.std:.4f}" if best.std is not None else ""
    run = best.results[0].run
    mean = f"validation {run.config.select.metric} {best.mean:.4f}{spread}"
    print(f"best: {best.point.name}, {mean}, seeds: {len(best.done)}")
    changes = {**cfg.overrides, **best.point.settings, "name": f"{cfg.name}-best"}
    arguments = shlex.join(as_override(key, value) for key, value in changes.items())
    shell = script_of(run).replace(".py", ".sh")
    print(f"  train:     CONFIG={shlex.quote(cfg.config)} bash {shell} {arguments}")
    for result in best.done:
        print(f"  evaluate:  bash evaluate.sh --run {shlex.quote(str(result.run.folder))} --split test")


if __name__ == "__main__":
    run_script(main)
