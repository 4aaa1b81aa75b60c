"""Comparison of many systems on the same clips, from compare.json: a page, and tables as text, LaTeX, Markdown, CSV."""

from collections.abc import Mapping
from html import escape
from typing import Any

from avdfd.core.files import csv_text
from avdfd.core.text import markdown_table
from avdfd.report import audit, counterfactuals, frame, plots, points, sentences, tables
from avdfd.report.frame import Rows, box
from avdfd.report.numbers import NAMES, align, difference, html_interval, sections, with_interval

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_NEW = "new: the system was not trained on fakes of this tier"


def build(result: Mapping[str, Any]) -> str:
    """Return the HTML page."""
    roc = result["curves"]["roc_branches"]
    title = f"{len(result['systems'])} systems on {result['split']}"
    overall = result["overall"]
    found = (line for one in result["audits"].values() for line in audit.warnings(one))
    warnings = [*map(escape, dict.fromkeys(found)), *filter(None, [sentences.few_identities(result)])]
    curve = frame.figure(
        "roc", "ROC", "All fakes against the real clips (RVRA).", plots.svg(plots.roc_curves(roc)), points.roc(roc)
    )
    note = (
        "AUC of each tier's fakes against the real clips, with bootstrap 95 % intervals over identities. Several seeds "
        "are averaged, and the intervals include them. The highest of each column is bold. "
    )
    return frame.page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f"<p class=lead>{overall['clips']} clips of {overall['identities']} identities, {overall['fake_clips']} of "
            "them fake, the same for every system.</p>",
            *(f"<p class=warning>{line}</p>" for line in warnings),
            "<h2>Which system separates fakes from real clips?</h2>",
            _auc(result),
            f"<p class=note>{note}{_NEW}. {frame.download('compare', _rows(result))}</p>",
            tables.paired(result),
            _branches_html(result),
            _relation_html(result),
            "<h2>Curves</h2>",
            f"<div class=figures>{curve}</div>",
            "<h2>All metrics</h2>",
            tables.metrics(result),
            f"<p class=note>{sentences.about_metrics(result)}</p>",
            "<h2>Are their probabilities calibrated?</h2>",
            tables.calibration(result),
            "<h2>Provenance</h2>",
            _facts(result),
        ],
    )


def comparison_text(result: Mapping[str, Any]) -> str:
    """Return the tables as aligned text."""
    return "\n\n".join(align([*map(list, rows)]) for rows in _tables(result))


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return the tables in Markdown; the highest AUC of each column is bold."""
    return "\n\n".join(markdown_table([*rows]) for rows in _tables(result, bold="**{}**")) + "\n"


def as_latex(result: Mapping[str, Any]) -> str:
    """Return the tables as LaTeX tabulars (package booktabs); the highest AUC of each column is bold."""
    texts = []
    for head, *rows in _tables(result):
        best = _best(result) if head[0] == "AUC" else {}
        lines = [" & ".join(map(latex, head)), r"\midrule"]
        for row in rows:
            cells = [latex(cell) for cell in row]
            for column, name in enumerate(head[1:], 1):
                if row[0] in best.get(name, ()):
                    cells[column] = rf"\textbf{{{cells[column]}}}"
            lines.append(" & ".join(cells))
        body = "\n".join(line if line == r"\midrule" else rf"{line} \\" for line in lines)
        columns = "l" + "r" * (len(head) - 1)
        texts.append(f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}")
    return "\n\n".join(texts) + "\n"


def as_csv(result: Mapping[str, Any]) -> str:
    """Return CSV with a row for every system and tier, with all digits."""
    return csv_text(_rows(result))


def latex(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _tables(result: Mapping[str, Any], bold: str = "{}") -> list[Rows]:
    """Return the tables of AUC by system and tier and of differences to the reference; the first row is the head."""
    best = _best(result)
    parts = dict(sections(result))
    auc = [["AUC", *parts]]
    for name in result["branches"]:
        cells = [(part, with_interval(of[name], "auc")) for part, of in parts.items()]
        auc.append([name, *(bold.format(text) if name in best[part] else text for part, text in cells)])
    less = [[f"{result['main']} minus", *parts]]
    less += [[other, *(difference(of[part]) for part in parts)] for other, of in result["paired"].items()]
    return [auc, *([less] if result["paired"] else []), *_branches(result), *_relation(result)]


def _branches(result: Mapping[str, Any]) -> list[Rows]:
    """Return the table of AUC by branch of each system, as evaluated; none if no system has several branches."""
    of_systems = result.get("branch_aucs", {})
    rows = [
        [f"{name}: {branch}", *(with_interval(of[part], "auc") for part, _ in sections(result))]
        for name, branches in of_systems.items()
        for branch, of in branches.items()
    ]
    return [[["AUC of branches", *(part for part, _ in sections(result))], *rows]] if rows else []


def _branches_html(result: Mapping[str, Any]) -> str:
    if not (rows := _branches(result)):
        return ""
    note = (
        "From the report of each system, with its own bootstrap draws; the scores above are those of the main branch."
    )
    return f"<h2>Which branch separates them?</h2>{_plain(rows[0])}<p class=note>{note}</p>"


def _plain(rows: Rows) -> str:
    """Return rows of texts as an HTML table."""
    head, *body = rows
    names = "".join(f"<th>{escape(name)}</th>" for name in head[1:])
    lines = ""
    for title, *texts in body:
        lines += f"<tr><th scope=row>{escape(title)}</th>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
    return box(f"<thead><tr><th>AUC</th>{names}</tr></thead>", lines)


def _relation(result: Mapping[str, Any]) -> list[Rows]:
    """Return the table of counterfactuals by system; none if no system was tested with them."""
    sections = result.get("counterfactuals", {})
    if not any(sections.values()):
        return []
    columns = {name: counterfactuals.key_figures(sections[name]) for name in result["branches"]}
    figures = [[title, *(of[title] for of in columns.values())] for title in counterfactuals.KEY_FIGURES]
    return [[["relation of audio and video, AUC", *columns], *figures]]


def _relation_html(result: Mapping[str, Any]) -> str:
    heading = "<h2>Which system uses the relation of audio and video?</h2>"
    if not (rows := _relation(result)):
        return f"{heading}<p class=note>{counterfactuals.NOT_RUN}</p>"
    return f"{heading}{_plain(rows[0])}<p class=note>{counterfactuals.RULE}</p>"


def _best(result: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the systems with the highest AUC in each section."""
    best = {}
    for part, of in sections(result):
        highest = max(of[name]["auc"] for name in result["branches"])
        best[part] = {name for name in result["branches"] if of[name]["auc"] == highest}
    return best


def _auc(result: Mapping[str, Any]) -> str:
    parts, best = dict(sections(result)), _best(result)
    head = "".join(f"<th class=num>{escape(part)}</th>" for part in parts)
    body = ""
    for name in result["branches"]:
        system = result["systems"][name]
        seeds = f"<span class=interval>{len(system['runs'])} seeds</span>" if len(system["runs"]) > 1 else ""
        cells = ""
        for part, of in parts.items():
            look = "num best" if name in best[part] else "num"
            new = "<span class=interval>new</span>" if part in system["protocol"]["new_tiers"] else ""
            cells += f"<td class='{look}'>{html_interval(of[name], 'auc')}{new}</td>"
        body += f"<tr><th scope=row>{escape(name)}{seeds}</th>{cells}</tr>"
    return box(f"<thead><tr><th>AUC</th>{head}</tr></thead>", body)


def _rows(result: Mapping[str, Any]) -> Rows:
    """Return a row per system and tier, with all metrics and the difference of the reference from the system."""
    metrics = ["auc", *(name for name in NAMES if name in result["overall"][result["main"]])]
    bounds = [text for name in metrics for text in (name, f"{name}_low", f"{name}_high")]
    less = ["difference", "difference_low", "difference_high", "p", "delong_p"]
    rows: list[list[Any]] = [["system", "tier", "clips", "fakes", "identities", "runs", *bounds, *less]]
    for name in result["branches"]:
        for part, of in sections(result):
            row = [name, part, of["clips"], of["fake_clips"], of["identities"], len(result["systems"][name]["runs"])]
            for metric in metrics:
                row += [of[name].get(metric), *(of[name].get(f"{metric}_interval") or (None, None))]
            pair = result["paired"].get(name, {}).get(part)
            if pair:
                row += [pair["difference"], *(pair["interval"] or (None, None)), pair["p"], pair["delong_p"]]
            rows.append(row + [None] * (len(rows[0]) - len(row)))
    return rows


def _facts(result: Mapping[str, Any]) -> str:
    values = {"split": result["split"], "elements": result["elements"], "windows": result["pooling"]["windows"]}
    for name, system in result["systems"].items():
        values[name] = f"{system['kind']}, {system['main']} score, {system['protocol']['name']}: {tables.runs(system)}"
    values["bootstrap"] = tables.bootstrap(result)
    return frame.facts(values)
