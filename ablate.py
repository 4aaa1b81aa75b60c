"""Run an ablation: train the method with one change at a time and list the effects in one table.

    bash ablate.sh                                          published sizes, on every GPU of the machine
    CONFIG=config/demo/ablation.json bash ablate.sh         small sizes, on the data of demo.sh
    python ablate.py --only "V2A instead" symmetric         these rows and the first one, which they are compared with
    sbatch --array=0-15 ablate.sh                           training by 16 tasks; then, to evaluate: sbatch ablate.sh

A row has a name and changes to the configs of both stages. All rows have the same seeds and clips; each run calls the
training script and is selected on validation. Then evaluate.py evaluates each row on test, all seeds together, against
the first row; with --counterfactuals, it also tests which rows use the relation of audio and video. Finished runs are
kept and stopped ones are resumed.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from avdfd.config import AblationConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import ensure_writable, locked, write_atomic
from avdfd.core.shards import parse_shard
from avdfd.core.text import markdown
from avdfd.metrics.bootstrap import MOST_REPLICATES
from avdfd.search.ablation import (
    SPLIT,
    AblationRow,
    Chain,
    as_csv,
    as_table,
    branches_table,
    expand,
    relation_table,
    report_of,
    reports_of,
    runs_of,
)
from avdfd.search.child import Child, Signals, cause, end_all
from avdfd.search.points import check_unchanged
from avdfd.search.queue import GRACE, PATIENCE, ROOT, Slot, environment, slots, train_all
from avdfd.search.results import LOCK, result_of

LOG = "evaluate.log"
say = partial(print, flush=True)


def main(argv: list[str]) -> int:
    cli = Parser(description="Train and evaluate the rows of an ablation.")
    cli.add_argument("--config", default="config/ablation.json")
    cli.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows and the first one")
    cli.add_argument("--gpus", default="all", help="GPU numbers such as 0,2, or all or none (default: all)")
    cli.add_argument("--jobs", type=int, default=1, help="runs at a time, on each GPU or on the CPU")
    cli.add_argument("--shard", default="0/1", help="i/n: train as one of n tasks, without evaluation")
    cli.add_argument("--bootstrap", type=int, default=1000, help="replicates; 0 for no intervals")
    cli.add_argument(
        "--counterfactuals", action="store_true", help="also test which rows use the relation of audio and video"
    )
    cli.add_argument("--list", action="store_true", help="list the runs and stop")
    cli.add_argument("--report", action="store_true", help="write the table of existing results and stop")
    args, overrides = cli.parse_known_args(argv)
    if args.jobs < 1 or not 0 <= args.bootstrap <= MOST_REPLICATES:
        raise UserError(f"--jobs must be at least 1, --bootstrap at least 0 and at most {MOST_REPLICATES}")
    cfg = load(args.config, AblationConfig, overrides=overrides)
    shard = parse_shard(args.shard)
    root = Path(cfg.runs) / cfg.name
    rows = expand(cfg, args.config, args.only)
    runs = runs_of(rows)
    check_unchanged(runs)
    if args.list:
        for row in rows:
            print(f"{row.name}: {', '.join(f'{run.folder} {result_of(run).state}' for run in row.runs)}")
        tasks = sum(len(row.chains) for row in rows)
        print(f"{len(runs)} runs; one task for each row and seed: sbatch --array=0-{tasks - 1} ablate.sh")
        return 0
    free = slots(args.gpus, args.jobs, runs)
    ensure_writable(root)
    if args.report:
        return table(rows, root)

    # Runs that start later use the configs that were checked now, even if the files change.
    bases = {"pretrain": root / "pretrain.json", "train": root / "train.json"}
    for kind, path in bases.items():
        write_atomic(path, Path(getattr(cfg, kind)).read_bytes())
    mine = [chain for row in rows for chain in row.chains][shard.number :: shard.of]
    with Signals() as signals:
        train(mine, bases, free, signals)
        if shard.of == 1:
            evaluate(rows, args.bootstrap, args.counterfactuals, free[0], signals)
    code = table(rows, root) if shard.of == 1 else int(any(result_of(c.last).state != "done" for c in mine))
    if signals.exit_code is not None:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return signals.exit_code
    return code


def train(chains: Sequence[Chain], bases: Mapping[str, Path], free: Sequence[Slot], signals: Signals) -> None:
    """Train stage 1 of all chains, waiting for runs of other tasks, then stage 2 of those whose stage 1 is done."""
    left = list({chain.first.folder: chain.first for chain in chains}.values())
    while left and signals.received is None:
        train_all(left, bases, free, signals, say)
        left = [run for run in left if result_of(run).state == "running"]
        while signals.received is None and any(result_of(run).state == "running" for run in left):
            time.sleep(1)
    ready = [chain.second for chain in chains if chain.second and result_of(chain.first).state == "done"]
    train_all(ready, bases, free, signals, say)


def evaluate(rows: Sequence[AblationRow], replicates: int, counterfactuals: bool, slot: Slot, signals: Signals) -> None:
    """Evaluate each row on test by evaluate.py, all seeds together, against the first one.

    With `counterfactuals` so are they, but for rows that are the audio branch alone.
    """
    full = rows[0]
    for row in rows:
        if signals.received is not None or not (row.complete and full.complete):
            continue
        related = counterfactuals and row.chains[0].second is not None
        report = report_of(row, full)
        if report is not None and ("counterfactuals" in report or not related):
            continue
        log = row.runs[0].folder / LOG
        command = [sys.executable, str(ROOT / "evaluate.py"), "--run", row.system, "--split", SPLIT]
        command += ["--bootstrap", str(replicates)]
        command += [] if row is full else ["--against", full.system]
        command += ["--counterfactuals"] if related else []
        say(f"{row.name}: evaluation on {SPLIT} starts, {log}")
        with locked(row.runs[0].folder / LOCK, row.runs[0].folder, patience=PATIENCE) as lock:
            child = Child(command, log=log, environment=environment(slot), lock=lock)
            try:
                while (code := child.poll()) is None and signals.received is None:
                    time.sleep(0.2)
            finally:
                end_all([child], GRACE)
        if code:
            say(f"{row.name}: failed: {cause(code, log)}")


def table(rows: Sequence[AblationRow], root: Path) -> int:
    """Write results.md and .csv of the existing reports; return 1 if a row has none."""
    reports = reports_of(rows)
    text = as_table(rows, reports)
    page = (
        f"# {markdown(root.name)}\n\nAUC on test: mean over seeds with its 95 % interval over identities and seeds, "
        f"and the standard deviation (n - 1) over seeds. 'minus {markdown(rows[0].name)}' is the difference on the "
        "same clips, with the interval and the two-sided p of the paired bootstrap, not corrected for the number of "
        "rows. Runs are selected on validation only.\n\n"
        f"{text}\n"
    )
    branches, relation = branches_table(rows, reports), relation_table(rows, reports)
    if branches:
        page += f"\nAUC of each branch on test:\n\n{branches}\n"
    if relation:
        page += f"\nUse of the relation of audio and video, by counterfactuals on test:\n\n{relation}\n"
    write_atomic(root / "results.md", page.encode())
    write_atomic(root / "results.csv", as_csv(rows, reports).encode())
    print(f"\n{text}", *filter(None, (branches, relation)), f"{root}/results.md, .csv", sep="\n\n")
    return int(len(reports) < len(rows))


if __name__ == "__main__":
    run_script(main)
