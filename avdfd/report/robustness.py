"""Robustness section of the report, from report.json's `robustness` (`avdfd.evaluation.robustness.suite.summarise`)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from avdfd.report import frame, plots
from avdfd.report.numbers import html_interval, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOTE = (
    "Above: AUC of fakes against real clips, both perturbed, with severity rising from left to right; the axis shows "
    "the level. Below: AUC of perturbed real clips against the same clips unperturbed. There 0.5 means that the "
    "perturbation has no effect, and more that it makes real clips look fake. Bands are 95 % intervals over "
    "identities. {clips} clips, {windows} windows."
)


def robustness_rows(section: Mapping[str, Any], branches: Sequence[str]) -> list[list[str]]:
    """Return rows: AUC of each branch or system without perturbation and at the highest severity of each one."""
    rows = [["AUC at severity 5", "level", *branches, *(f"reals, {branch}" for branch in branches)]]
    rows.append(["unperturbed", "", *(number(section["clean"][b]["auc"]) for b in branches), *("" for _ in branches)])
    for name, how in section["perturbations"].items():
        last, level = how["severities"][-1], f"{how['levels'][-1]:g} {how['unit']}"
        values = [number(last[branch][which]) for which in ("auc", "reals") for branch in branches]
        rows.append([name, level, *values])
    return rows


def robustness_html(section: Mapping[str, Any], branches: Sequence[str]) -> str:
    """Return heading, a small figure for each perturbation, and a table of all numbers."""
    looks = plots.looks(branches)
    legend = " ".join(
        f"<span style='color:{looks[branch][0]}'>&#9632;</span> {escape(branch)}&ensp;" for branch in branches
    )
    figures = "".join(
        f"<figure>{frame.image(how['title'], plots.svg(draw(section, name, branches)))}</figure>"
        for name, how in section["perturbations"].items()
    )
    note = _NOTE.format(clips=section["clips"], windows=section["windows"])
    note += "".join(f" {escape(line)}" for line in left_out(section))
    return (
        f"<h2>Robustness</h2><p class=note>{legend}</p><div class='figures small'>{figures}</div>"
        f"<p class=note>{note}</p>"
        f"<details><summary>All levels as a table</summary>{_table(section, branches)}</details>"
        f"<p class=note>{frame.download('robustness', _points(section, branches))}</p>"
    )


def left_out(section: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each perturbation that takes part of the windows, or none with the reason."""
    partly = [(how["title"], how["windows"]) for how in section["perturbations"].values() if "windows" in how]
    lines = [f"{title}: {count} windows, which have the audio beyond them." for title, count in partly]
    return [*lines, *(f"Left out: {name}, {why}." for name, why in section.get("left_out", {}).items())]


def draw(section: Mapping[str, Any], name: str, branches: Sequence[str]) -> "Figure":
    """Draw a perturbation: AUC by severity, and below it AUC of perturbed against unperturbed real clips."""
    how = section["perturbations"][name]
    steps = [section["clean"], *how["severities"]]
    figure, rows = plots.figure_of(2.9, 3.1, rows=2, sharex=True, height_ratios=[1.5, 1])
    figure.suptitle(how["title"], fontsize=11, x=0.02, ha="left")
    for axes, which, label in zip(rows, ("auc", "reals"), ("AUC", "perturbed\nagainst clean"), strict=True):
        axes.axhline(0.5, color="#aaaaaa", linewidth=1, linestyle=":")
        for branch, look in plots.looks(branches).items():
            plots.curve_with_band(axes, range(len(steps)), [step[branch] for step in steps], which, look)
        axes.set_ylabel(label, fontsize=9)
        axes.set(xlim=(-0.15, len(steps) - 0.85), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axes.tick_params(labelsize=8)
    rows[-1].set(xticks=range(len(steps)), xlabel=how["unit"])
    rows[-1].set_xticklabels(["–", *(f"{level:g}" for level in how["levels"])])
    return figure


def _table(section: Mapping[str, Any], branches: Sequence[str]) -> str:
    head = "".join(f"<th class=num>{escape(branch)}</th>" for branch in branches)
    reals = "".join(f"<th class=num>reals, {escape(branch)}</th>" for branch in branches)
    body = ""
    for how in section["perturbations"].values():
        for level, step in zip(how["levels"], how["severities"], strict=True):
            cells = "".join(
                f"<td class=num>{html_interval(step[branch], which)}</td>"
                for which in ("auc", "reals")
                for branch in branches
            )
            body += f"<tr><th scope=row>{escape(how['title'])}, {level:g} {escape(how['unit'])}</th>{cells}</tr>"
    head = f"<thead><tr><th>AUC</th>{head}{reals}</tr></thead>"
    return frame.box(head, body)


def _points(section: Mapping[str, Any], branches: Sequence[str]) -> list[list[Any]]:
    """Return the data of the figures, a row for each level and branch; unperturbed clips have an empty level."""
    rows: list[list[Any]] = [["perturbation", "level", "unit", "branch", "auc", "low", "high", "reals", "low", "high"]]
    for name, how in section["perturbations"].items():
        for level, step in zip(["", *how["levels"]], [section["clean"], *how["severities"]], strict=True):
            for branch in branches:
                values = step[branch]
                numbers = [[values[w], *(values[f"{w}_interval"] or ("", ""))] for w in ("auc", "reals")]
                rows.append([name, level, how["unit"], branch, *numbers[0], *numbers[1]])
    return rows
