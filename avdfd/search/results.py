"""Results of a search, read from its run folders: states, best validation metrics, means over seeds, tables."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from avdfd.core.files import csv_text, is_locked, write_atomic
from avdfd.core.text import markdown as escaped
from avdfd.core.text import read_json
from avdfd.search.points import Point, Run

State = Literal["done", "failed", "running", "unfinished", "not started"]

LOG = "search.log"
"""File with the output of a run's script."""
LOCK = ".search.lock"
"""File that is locked while a run is trained or evaluated."""
_RECORD = "search.json"
INTERRUPTED = (75, 130)
"""Exit codes of a script that was stopped and can be resumed."""


class Result(NamedTuple):
    """State of a run; `value` and `best_epoch` are None before its first epoch."""

    run: Run
    state: State
    reason: str = ""
    value: float | None = None
    """Best validation metric."""
    best_epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    """Training time, summed over epochs."""


class SearchRow(NamedTuple):
    """Results of a setting for all its seeds."""

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
        """Best validation metrics of the seeds that are done."""
        return [result.value for result in self.done if result.value is not None]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1) over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def record(run: Run, code: int, reason: str) -> None:
    """Record the exit code of a run's script and the reason of a failure."""
    write_atomic(run.folder / _RECORD, (json.dumps({"exit": code, "reason": reason}) + "\n").encode())


def forget(run: Run) -> None:
    """Remove the record of an earlier end, before a run is tried again."""
    (run.folder / _RECORD).unlink(missing_ok=True)


def result_of(run: Run) -> Result:
    """Read the result of a run from its folder, which may be missing or still be written to."""
    numbers: dict[str, Any] = {}
    epochs = _epochs(run.folder / "metrics.jsonl")
    metric = f"val_{run.config.select.metric}"
    first = run.config.select.first_epoch
    values = {epoch: line[metric] for epoch, line in epochs.items() if epoch >= first and math.isfinite(line[metric])}
    if values:
        best = max(values, key=lambda epoch: values[epoch])  # the first of equals, as the training scripts select
        numbers = {"value": values[best], "best_epoch": best}
    numbers |= {"epochs": len(epochs), "seconds": sum(line.get("seconds", 0.0) for line in epochs.values())}
    if is_locked(run.folder / LOCK):
        return Result(run, "running", **numbers)
    path = run.folder / _RECORD
    if not path.exists():
        return Result(run, "unfinished" if epochs or (run.folder / LOG).exists() else "not started", **numbers)
    ended = read_json(path)
    if ended["exit"] == 0:
        if values:
            return Result(run, "done", **numbers)
        return Result(run, "failed", f"no epoch has a finite {metric}", **numbers)
    if ended["exit"] in INTERRUPTED:
        return Result(run, "unfinished", **numbers)
    return Result(run, "failed", ended["reason"], **numbers)


def ranked(results: Sequence[Result]) -> list[SearchRow]:
    """Group results by setting and sort by mean, best first; incomplete settings follow, those without results last.

    The sort is stable.
    """
    by_name: dict[str, SearchRow] = {}
    for result in results:
        by_name.setdefault(result.run.point.name, SearchRow(result.run.point, [])).results.append(result)

    def order(row: SearchRow) -> tuple[bool, float]:
        return not row.complete, math.inf if row.mean is None else -row.mean

    return sorted(by_name.values(), key=order)


def best_of(rows: Sequence[SearchRow]) -> SearchRow | None:
    """Return the complete setting with the best mean, or None if no setting is complete."""
    return rows[0] if rows and rows[0].complete else None


def as_csv(rows: Sequence[SearchRow], metric: str) -> str:
    """Return CSV with a line for each run, in the order of the table."""
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
    """Return an aligned Markdown table with a line for each setting."""
    keys = list(rows[0].point.settings)
    cells = [["", *keys, f"mean {metric}", "std", "seeds", "best epoch", "seconds", "state"]]
    for place, row in enumerate(rows, 1):
        seconds = sum(result.seconds for result in row.results)
        cells.append(
            [
                str(place),
                *(text(row.point.settings[key]) for key in keys),
                _number(row.mean),
                _number(row.std),
                f"{len(row.done)} of {len(row.results)}",
                ", ".join(str(result.best_epoch) for result in row.done),
                f"{seconds:.0f}",
                _states(row),
            ]
        )
    return markdown(cells)


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table; the first row is the header."""
    cells = [[escaped(cell) for cell in row] for row in cells]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_markdown(name: str, rows: Sequence[SearchRow], metric: str) -> str:
    """Return a page with the table, how to read it, and the reasons of failed runs."""
    runs = sum(len(row.results) for row in rows)
    page = (
        f"# {escaped(name)}\n\nBest validation {metric} of each run: mean and standard deviation (n - 1) over seeds, "
        f"{runs} runs in total. Incomplete settings come last. Seconds are summed over epochs and seeds.\n\n"
        f"{as_table(rows, metric)}\n"
    )
    failed = [result for row in rows for result in row.results if result.state == "failed"]
    if failed:
        page += "\nFailed:\n\n" + "".join(
            f"- `{result.run.config.name}`: {escaped(result.reason)}\n" for result in failed
        )
    return page


def _states(row: SearchRow) -> str:
    """Return "done", or the number of seeds in each other state."""
    states = [result.state for result in row.results if result.state != "done"]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "done"


def _epochs(path: Path) -> dict[int, dict[str, float]]:
    """Return the lines of metrics.jsonl by epoch; a last line without its end is ignored, as it may be incomplete."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {line["epoch"]: line for line in map(json.loads, lines)}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def text(value: Any) -> str:
    """Return the value of a setting as tables and figures show it."""

    return value if isinstance(value, str) else json.dumps(value)
