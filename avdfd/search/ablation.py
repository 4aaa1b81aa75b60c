"""Expansion of an ablation config into rows of runs of both stages, and tables of their results on test."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.config import AblationConfig, PretrainConfig, RunConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, csv_text, sha256_of
from avdfd.core.text import read_json
from avdfd.evaluation.carriers import branch_aucs
from avdfd.evaluation.stored import folder_of
from avdfd.report.counterfactuals import KEY_FIGURES, key_figures
from avdfd.report.numbers import difference, sections, with_interval
from avdfd.search.points import Point, Run, Settings, name_of, run_of
from avdfd.search.results import markdown, result_of

SPLIT = "test"
Reports = Mapping[str, dict[str, Any]]
"""Name of a row -> its report.json."""


class Chain(NamedTuple):
    """Runs of a row with one seed, trained one after the other."""

    first: Run
    """Stage 1; rows may share it."""
    second: Run | None
    """Stage 2; None if the row is the audio branch alone."""

    @property
    def last(self) -> Run:
        """Run that is evaluated."""
        return self.second or self.first


class AblationRow(NamedTuple):
    """Row of the table."""

    name: str
    chains: list[Chain]

    @property
    def runs(self) -> list[Run]:
        """Runs of all seeds that are evaluated together."""
        return [chain.last for chain in self.chains]

    @property
    def trained(self) -> int:
        return sum(result_of(run).state == "done" for run in self.runs)

    @property
    def complete(self) -> bool:
        return self.trained == len(self.runs)

    @property
    def system(self) -> str:
        """Argument of evaluate.py: the run folders, joined by commas."""
        return ",".join(str(run.folder) for run in self.runs)

    @property
    def report(self) -> Path:
        """Path of the report that evaluate.py writes."""
        return folder_of(self.runs[0].folder, len(self.runs), SPLIT) / "report.json"


def expand(cfg: AblationConfig, source: str, only: Sequence[str] = ()) -> list[AblationRow]:
    """Return the rows of an ablation, or the first one and those named in `only`.

    `source` is the ablation's own file, for errors. Raises UserError for an unknown row, two rows with the same folder,
    stages with different data, and a setting that the config of a stage does not have.
    """
    unknown = next((name for name in only if name not in cfg.rows), None)
    if unknown is not None:
        raise UserError(f"{source}: has no row '{unknown}'; its rows are {', '.join(cfg.rows)}")
    rows = [_row(cfg, name, source) for name in cfg.rows]
    stage1 = {row.chains[0].first.folder for row in rows}
    folders: dict[Path, str] = {}
    for row in rows:
        other = folders.setdefault(row.runs[0].folder, row.name)
        if other != row.name or (row.chains[0].second and row.runs[0].folder in stage1):
            raise UserError(f"{source}: rows '{other}' and '{row.name}' have the same folder; change a name or a row")
    return [row for place, row in enumerate(rows) if not only or place == 0 or row.name in only]


def runs_of(rows: Sequence[AblationRow]) -> list[Run]:
    """Return all runs once, those of stage 1 first."""
    chains = [chain for row in rows for chain in row.chains]
    runs = [*(chain.first for chain in chains), *(chain.second for chain in chains if chain.second)]
    return list({run.folder: run for run in runs}.values())


def _row(cfg: AblationConfig, name: str, source: str) -> AblationRow:
    changes = cfg.rows[name]
    where = f"{source}: {name}"
    point = Point("-".join(["stage1", *([name_of(changes.pretrain)] if changes.pretrain else [])]), changes.pretrain)
    chains = []
    for seed in cfg.seeds:
        first = _run(cfg, cfg.pretrain, PretrainConfig, point, cfg.overrides.pretrain, seed, where)
        if changes.train is None:
            chains.append(Chain(first, None))
            continue
        fixed = {**(cfg.overrides.train or {}), "audio": str(first.folder)}
        own = Point(re.sub(r"[^\w.+]+", "-", name.lower()).strip("-"), changes.train)
        second = _run(cfg, cfg.train, TrainConfig, own, fixed, seed, where)
        data, other = first.config.data, second.config.data
        if (data.elements, data.splits) != (other.elements, other.splits):
            raise UserError(f"{where}: {cfg.pretrain} and {cfg.train} have other data.elements or data.splits")
        chains.append(Chain(first, second))
    return AblationRow(name, chains)


def _run(
    cfg: AblationConfig, base: str, model: type[RunConfig], point: Point, fixed: Settings, seed: int, source: str
) -> Run:
    root = Path(cfg.runs) / cfg.name
    return run_of(base, model, root, point, {**fixed, **point.settings}, seed, source)


# ---- results


def report_of(row: AblationRow, full: AblationRow) -> dict[str, Any] | None:
    """Return report.json of a row against the first one, or None if there is none for the present weights."""
    if not row.report.is_file() or not (row.complete and full.complete):
        return None
    report: dict[str, Any] = read_json(row.report)
    evaluated = [report["runs"], *(other["runs"] for other in report["against"].values())]
    systems = [row] if row is full else [row, full]
    present = [[sha256_of(run.folder / BEST) for run in one.runs] for one in systems]
    return report if [[run["checkpoint_sha256"] for run in runs] for runs in evaluated] == present else None


def reports_of(rows: Sequence[AblationRow]) -> Reports:
    """Return the reports of the rows that have one, by `report_of`."""
    return {row.name: report for row in rows if (report := report_of(row, rows[0])) is not None}


def as_table(rows: Sequence[AblationRow], reports: Reports) -> str:
    """Return an aligned Markdown table: AUC of each row on test, by tier, and its difference from the first row."""
    full = rows[0]
    tiers = list(dict.fromkeys(tier for report in reports.values() for tier in report["tiers"]))
    cells = [["AUC", "seeds", "overall", "std", f"minus {full.name}", *tiers]]
    for row in rows:
        report = reports.get(row.name)
        cells.append([row.name, f"{row.trained} of {len(row.runs)}", *_cells(row, full, report, tiers)])
    return markdown(cells)


def _cells(row: AblationRow, full: AblationRow, report: dict[str, Any] | None, tiers: Sequence[str]) -> list[str]:
    if report is None:
        return ["not evaluated yet" if row.complete else "not trained yet", "", "", *("" for _ in tiers)]
    main, paired = report["main"], report["paired"].get(full.runs[0].config.name)
    overall = report["overall"][main]
    std = overall.get("auc_deviation")
    return [
        with_interval(overall, "auc"),
        "" if std is None else f"{std:.3f}",
        difference(paired["overall"]) if paired else "",
        *(with_interval(report["tiers"][tier][main], "auc") if tier in report["tiers"] else "" for tier in tiers),
    ]


def relation_table(rows: Sequence[AblationRow], reports: Reports) -> str:
    """Return an aligned Markdown table of the counterfactuals of each row; empty if none was tested with them."""
    tested = [row for row in rows if reports.get(row.name, {}).get("counterfactuals")]
    cells = [[row.name, *key_figures(reports[row.name]["counterfactuals"]).values()] for row in tested]
    return markdown([["AUC", *KEY_FIGURES], *cells]) if cells else ""


def branches_table(rows: Sequence[AblationRow], reports: Reports) -> str:
    """Return an aligned Markdown table of the AUC of each branch by tier; empty if no row has several branches."""
    found = {row.name: branch_aucs(reports[row.name]) for row in rows if row.name in reports}
    parts = list(dict.fromkeys(part for of in found.values() for branch in of.values() for part in branch))
    cells = [
        [name, branch, *(with_interval(of[part], "auc") if part in of else "" for part in parts)]
        for name, branches in found.items()
        for branch, of in branches.items()
    ]
    return markdown([["AUC of branches", "branch", *parts], *cells]) if cells else ""


def as_csv(rows: Sequence[AblationRow], reports: Reports) -> str:
    """Return CSV with a line for each evaluated row and tier; `runs` is the argument of evaluate.py."""

    numbers = ["auc", "low", "high", "deviation", "difference", "difference_low", "difference_high", "p"]
    evaluated = [row for row in rows if row.name in reports]
    lines = [[row.name, row.system, *line] for row in evaluated for line in _lines(reports[row.name], rows[0])]
    return csv_text([["row", "runs", "tier", *numbers], *lines])


def _lines(report: dict[str, Any], full: AblationRow) -> Iterator[list[Any]]:
    paired = report["paired"].get(full.runs[0].config.name, {})
    for name, section in sections(report):
        auc, pair = section[report["main"]], paired.get(name, {})
        ends, pair_ends = auc["auc_interval"] or [None, None], pair.get("interval") or [None, None]
        yield [name, auc["auc"], *ends, auc.get("auc_deviation"), pair.get("difference"), *pair_ends, pair.get("p")]
