"""What the run folders of a search say: the state and the best validation value of each, means over seeds, tables."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from avdfd.core.errors import UserError
from avdfd.core.files import csv_text, locked, write_atomic
from avdfd.search.points import Point, Run

State = Literal["done", "failed", "running", "unfinished", "not started"]

LOG = "search.log"
"""What a run's script has said."""
LOCK = ".search.lock"
"""Held as long as it runs."""
_RECORD = "search.json"
INTERRUPTED = (75, 130)
"""Exit codes of a script that was stopped and can go on."""


class Result(NamedTuple):
    """Where a run is. The numbers are there as soon as it has an epoch."""

    run: Run
    state: State
    reason: str = ""
    value: float | None = None
    """Best validation metric."""
    best_epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    """Of training, in all its epochs."""


class SearchRow(NamedTuple):
    """A setting over its seeds."""

    point: Point
    results: list[Result]

    @property
    def done(self) -> list[Result]:
        return [result for result in self.results if result.state == "done"]

    @property
    def complete(self) -> bool:
        return len(self.done) == len(self.results)

    @property
    def values(self) -> list[float]:
        """Of the seeds that are done."""
        return [result.value for result in self.done if result.value is not None]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """With n - 1; None for fewer than two seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def record(run: Run, code: int, reason: str) -> None:
    """Notes how a run's script ended."""
    write_atomic(run.folder / _RECORD, (json.dumps({"exit": code, "reason": reason}) + "\n").encode())


def forget(run: Run) -> None:
    """Before a run is tried again."""
    (run.folder / _RECORD).unlink(missing_ok=True)


def result_of(run: Run) -> Result:
    """Reads a run folder, which may be written to at the same time or not be there."""
    numbers: dict[str, Any] = {}
    epochs = _epochs(run.folder / "metrics.jsonl")
    metric = f"val_{run.config.select.metric}"
    first = run.config.select.first_epoch
    judged = {epoch: line[metric] for epoch, line in epochs.items() if epoch >= first and math.isfinite(line[metric])}
    if judged:
        best = max(judged, key=lambda epoch: judged[epoch])  # of equals the first, as the scripts select
        numbers = {"value": judged[best], "best_epoch": best}
    numbers |= {"epochs": len(epochs), "seconds": sum(line.get("seconds", 0.0) for line in epochs.values())}
    if _is_running(run.folder):
        return Result(run, "running", **numbers)
    path = run.folder / _RECORD
    if not path.exists():
        return Result(run, "unfinished" if epochs or (run.folder / LOG).exists() else "not started", **numbers)
    ended = json.loads(path.read_text(encoding="utf-8"))
    if ended["exit"] == 0:
        if judged:
            return Result(run, "done", **numbers)
        return Result(run, "failed", f"no epoch has a finite {metric}", **numbers)
    if ended["exit"] in INTERRUPTED:
        return Result(run, "unfinished", **numbers)
    return Result(run, "failed", ended["reason"], **numbers)


def ranked(results: Sequence[Result]) -> list[SearchRow]:
    """Settings, the best mean first; those that lack seeds come after those that have all, and then those without any.

    Equals stay in their order.
    """
    by_name: dict[str, SearchRow] = {}
    for result in results:
        by_name.setdefault(result.run.point.name, SearchRow(result.run.point, [])).results.append(result)

    def order(row: SearchRow) -> tuple[bool, float]:
        return not row.complete, math.inf if row.mean is None else -row.mean

    return sorted(by_name.values(), key=order)


def best_of(rows: Sequence[SearchRow]) -> SearchRow | None:
    """The setting with the best mean of those that have all their seeds."""
    return rows[0] if rows and rows[0].complete else None


def as_csv(rows: Sequence[SearchRow], metric: str) -> str:
    """A line for each run, in the order of the table."""
    keys = list(rows[0].point.settings)
    lines: list[list[Any]] = [
        ["run", *keys, "seed", "state", f"val_{metric}", "best_epoch", "epochs", "seconds", "reason"]
    ]
    for row in rows:
        for run, state, reason, value, best_epoch, epochs, seconds in row.results:
            settings = [text(row.point.settings[key]) for key in keys]
            numbers = [value, best_epoch, epochs, round(seconds, 3)]
            lines.append([run.config.name, *settings, run.seed, state, *numbers, reason])
    return csv_text(lines)


def as_table(rows: Sequence[SearchRow], metric: str) -> str:
    """A line for each setting, as aligned Markdown."""
    keys = list(rows[0].point.settings)
    cells = [["", *keys, f"mean {metric}", "deviation", "seeds", "best epoch", "seconds", "state"]]
    for place, row in enumerate(rows, 1):
        seconds = sum(result.seconds for result in row.results)
        cells.append(
            [
                str(place),
                *(text(row.point.settings[key]) for key in keys),
                _number(row.mean),
                _number(row.deviation),
                f"{len(row.done)} of {len(row.results)}",
                ", ".join(str(result.best_epoch) for result in row.done),
                f"{seconds:.0f}",
                _states(row),
            ]
        )
    return markdown(cells)


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table, its head first."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_markdown(name: str, rows: Sequence[SearchRow], metric: str) -> str:
    """The table, how to read it, and why runs have failed."""
    runs = sum(len(row.results) for row in rows)
    page = (
        f"# {name}\n\nBest validation {metric} of each run: mean and deviation (n - 1) over seeds; {runs} runs. "
        "Settings that lack seeds stand after those that have all. Seconds are those of all epochs and seeds.\n\n"
        f"{as_table(rows, metric)}\n"
    )
    failed = [result for row in rows for result in row.results if result.state == "failed"]
    if failed:
        page += "\nFailed:\n\n" + "".join(f"- `{result.run.config.name}`: {result.reason}\n" for result in failed)
    return page


def _states(row: SearchRow) -> str:
    """ "done", or what the seeds that are not done are."""
    states = [result.state for result in row.results if result.state != "done"]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "done"


def _epochs(path: Path) -> dict[int, dict[str, float]]:
    """Lines of metrics.jsonl by epoch. A last line without its end is being written, or was cut off."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {line["epoch"]: line for line in map(json.loads, lines)}


def _is_running(folder: Path) -> bool:
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder / LOCK, folder):
            return False
    except UserError:
        return True


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def text(value: Any) -> str:
    """A setting's value in tables and figures."""
    return value if isinstance(value, str) else json.dumps(value)
