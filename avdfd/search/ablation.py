"""What an ablation stands for, rows of runs of both stages, and what the reports on their test clips say."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.config import AblationConfig, PretrainConfig, RunConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, csv_text, sha256_of
from avdfd.evaluation.stored import folder_of
from avdfd.report.numbers import difference, sections, with_interval
from avdfd.search.points import Point, Run, Settings, name_of, run_of
from avdfd.search.results import markdown, result_of

SPLIT = "test"
Reports = Mapping[str, dict[str, Any]]
"""Name of a row -> its report.json."""


class Chain(NamedTuple):
    """A row with one seed: what is trained, one after the other."""

    first: Run
    """Stage 1, which other rows may share."""
    second: Run | None
    """Stage 2; None where the audio branch is all there is."""

    @property
    def last(self) -> Run:
        """Which is judged."""
        return self.second or self.first


class AblationRow(NamedTuple):
    """A line of the table."""

    name: str
    chains: list[Chain]

    @property
    def runs(self) -> list[Run]:
        """The runs that are judged, pooled over seeds."""
        return [chain.last for chain in self.chains]

    @property
    def trained(self) -> int:
        return sum(result_of(run).state == "done" for run in self.runs)

    @property
    def complete(self) -> bool:
        return self.trained == len(self.runs)

    @property
    def system(self) -> str:
        """As evaluate.py takes it: folders joined by commas."""
        return ",".join(str(run.folder) for run in self.runs)

    @property
    def report(self) -> Path:
        """Where evaluate.py puts what it says of them."""
        return folder_of(self.runs[0].folder, len(self.runs), SPLIT) / "report.json"


def expand(cfg: AblationConfig, source: str, only: Sequence[str] = ()) -> list[AblationRow]:
    """The rows, or the first one and `only` these.

    `source` is the ablation's own file, for errors. Raises UserError for a row that is not there, two rows of one
    folder, stages of different clips, and a setting that the config of a stage does not take.
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
    """All runs, those of stage 1 first; each once."""
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


# ---- judgement


def report_of(row: AblationRow, full: AblationRow) -> dict[str, Any] | None:
    """report.json of a row against the first one, if there is one of the weights that are there now."""
    if not row.report.is_file() or not (row.complete and full.complete):
        return None
    report: dict[str, Any] = json.loads(row.report.read_text(encoding="utf-8"))
    judged = [report["runs"], *(other["runs"] for other in report["against"].values())]
    systems = [row] if row is full else [row, full]
    there = [[sha256_of(run.folder / BEST) for run in one.runs] for one in systems]
    return report if [[run["checkpoint_sha256"] for run in runs] for runs in judged] == there else None


def reports_of(rows: Sequence[AblationRow]) -> Reports:
    """What `report_of` has of each row; rows without are left out."""
    return {row.name: report for row in rows if (report := report_of(row, rows[0])) is not None}


def as_table(rows: Sequence[AblationRow], reports: Reports) -> str:
    """AUC of each row on all test clips and by tier, and its difference from the first row, as aligned Markdown."""
    full = rows[0]
    tiers = list(dict.fromkeys(tier for report in reports.values() for tier in report["tiers"]))
    cells = [["AUC", "seeds", "overall", "deviation", f"less {full.name}", *tiers]]
    for row in rows:
        report = reports.get(row.name)
        cells.append([row.name, f"{row.trained} of {len(row.runs)}", *_cells(row, full, report, tiers)])
    return markdown(cells)


def _cells(row: AblationRow, full: AblationRow, report: dict[str, Any] | None, tiers: Sequence[str]) -> list[str]:
    if report is None:
        return ["not judged yet" if row.complete else "not trained yet", "", "", *("" for _ in tiers)]
    main, paired = report["main"], report["paired"].get(full.runs[0].config.name)
    overall = report["overall"][main]
    deviation = overall.get("auc_deviation")
    return [
        with_interval(overall, "auc"),
        "" if deviation is None else f"{deviation:.3f}",
        difference(paired["overall"]) if paired else "",
        *(with_interval(report["tiers"][tier][main], "auc") if tier in report["tiers"] else "" for tier in tiers),
    ]


def as_csv(rows: Sequence[AblationRow], reports: Reports) -> str:
    """A line for each row and tier that is judged, with the folders of its runs as evaluate.py takes them."""
    numbers = ["auc", "low", "high", "deviation", "difference", "difference_low", "difference_high", "p"]
    judged = [row for row in rows if row.name in reports]
    lines = [[row.name, row.system, *line] for row in judged for line in _lines(reports[row.name], rows[0])]
    return csv_text([["row", "runs", "tier", *numbers], *lines])


def _lines(report: dict[str, Any], full: AblationRow) -> Iterator[list[Any]]:
    paired = report["paired"].get(full.runs[0].config.name, {})
    for name, section in sections(report):
        auc, pair = section[report["main"]], paired.get(name, {})
        ends, pair_ends = auc["auc_interval"] or [None, None], pair.get("interval") or [None, None]
        yield [name, auc["auc"], *ends, auc.get("auc_deviation"), pair.get("difference"), *pair_ends, pair.get("p")]
