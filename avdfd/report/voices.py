"""Voices section of the report, from report.json's `voices` (`avdfd.evaluation.voices.summarise`)."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from avdfd.core.tiers import AUDIO_ORDER
from avdfd.report import frame, plots
from avdfd.report.frame import Rows
from avdfd.report.numbers import html_interval, number, sure
from avdfd.report.tables import difference_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADING = "<h2>Are voices ordered by their distance from real speech?</h2>"
_NOTE = (
    "Mean distance of stage 1's embedding of a clip to the prototype of real speech, with 95 % intervals over "
    "identities. The training margin is {margin:g} from each class to the next: RVRA, RVFA-SVC, RVFA-VC, RVFA. FVRA "
    "has real audio and belongs with RVRA, FVFA with the tier of its fake audio. Tinted: the interval excludes 0."
)
_CAPTIONS = {
    "distances": ("Distance to the prototype by tier", "A dot is a clip, a bar the mean."),
    "embedding": (
        "Map of voices",
        "Embeddings of clips on their first two principal components; in other directions they may be further apart. "
        "Training pulls real speech towards the prototype.",
    ),
}


def voices_sentence(result: Mapping[str, Any]) -> str:
    """Return a sentence that says if the ordinal order holds; empty for a system without it."""
    section = result.get("voices")
    return f"Order of voices by distance to the prototype: {_verdict(section)}" if section else ""


def voices_html(result: Mapping[str, Any]) -> str:
    """Return heading, verdict, table and figures; empty for a system without them."""
    section = result.get("voices")
    if not section:
        return ""
    verdict = _verdict(section)
    rows = {"distances": _distance_rows, "embedding": _map_rows}
    figures = "".join(
        frame.figure(name, *_CAPTIONS[name], plots.svg(figure), rows[name](section))
        for name, figure in draw(section).items()
    )
    return f"{_HEADING}<p>{escape(verdict[0].upper() + verdict[1:])}</p>{_table(section)}" + (
        f"<div class=figures>{figures}</div>" if figures else ""
    )


def draw(section: Mapping[str, Any]) -> "dict[str, Figure]":
    """Return the figures for which there are data."""
    figures = {}
    if tiers := section.get("tiers"):
        values = {name: of["values"] for name, of in tiers.items()}
        figures["distances"] = plots.dots(values, {n: of["distance"] for n, of in tiers.items()}, "distance")
    if plane := section.get("map"):
        figures["embedding"] = plots.plane(plane["tiers"], plane["explained"], plane["prototype"])
    return figures


def _verdict(section: Mapping[str, Any]) -> str:
    """Return the verdict in words: yes or no, the means, and the steps that are reversed or may be due to chance."""
    if "missing" in section:
        return f"not known. {section['missing']}."
    if "tiers" not in section:
        return "none, as stage 1 was trained without the ordinal loss."
    tiers, steps = section["tiers"], section["steps"]
    if not steps:
        return "not known, as RVRA is the only one of its classes here."
    chain = f"{steps[0]['near']} {number(tiers[steps[0]['near']]['distance'])}"
    for step in steps:
        chain += f" {'<' if step['difference'] > 0 else '≥'} {step['far']} {number(tiers[step['far']]['distance'])}"
    notes = [chain]
    if against := [_step(step) for step in steps if step["difference"] <= 0]:
        notes.append(f"reversed: {', '.join(against)}")
    if doubtful := [_step(step) for step in steps if step["difference"] > 0 and _by_chance(step)]:
        notes.append(f"uncertain: {', '.join(doubtful)}")
    return f"{'yes' if section['ordered'] else 'no'}. {'; '.join(notes)}."


def _step(step: Mapping[str, Any]) -> str:
    interval = f" [{step['interval'][0]:+.3f}, {step['interval'][1]:+.3f}]" if step["interval"] else ""
    chance = " (may be chance)" if _by_chance(step) else ""
    return f"{step['near']} to {step['far']} {step['difference']:+.3f}{interval}{chance}"


def _by_chance(step: Mapping[str, Any]) -> bool:
    """Return True if the interval of a step includes 0."""
    return step["interval"] is not None and not sure(step)


def _table(section: Mapping[str, Any]) -> str:
    if "tiers" not in section:
        return ""
    step_to = {step["far"]: step for step in section["steps"]}
    body = ""
    for name, of in section["tiers"].items():
        new = name in AUDIO_ORDER and name not in section["trained_tiers"]
        label = f"{escape(name)}<span class=interval>not trained on</span>" if new else escape(name)
        cells = f"<td class=num>{html_interval(of, 'distance')}</td>{_cell(of['beyond'])}{_cell(step_to.get(name))}"
        counts = f"<td class=num>{of['clips']}</td><td class=num>{of['identities']}</td>"
        body += f"<tr><th scope=row>{label}</th>{cells}{counts}</tr>"
    names = ("distance", "beyond RVRA", "beyond the previous class", "clips", "identities")
    head = "".join(f"<th class=num>{name}</th>" for name in names)
    note = _NOTE.format(margin=section["margin"])
    return frame.box(f"<thead><tr><th>tier</th>{head}</tr></thead>", body) + f"<p class=note>{note}</p>"


def _cell(apart: Mapping[str, Any] | None) -> str:
    return "<td></td>" if apart is None else difference_cell(apart)


def _distance_rows(section: Mapping[str, Any]) -> Rows:
    return [["tier", "distance"], *([name, x] for name, of in section["tiers"].items() for x in of["values"])]


def _map_rows(section: Mapping[str, Any]) -> Rows:
    plane = section["map"]
    prototype = [["prototype", *plane["prototype"]]] if plane["prototype"] else []
    points = [[name, *point] for name, of in plane["tiers"].items() for point in of]
    return [["tier", "component_1", "component_2"], *points, *prototype]
