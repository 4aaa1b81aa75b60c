"""Domain section of the report, from report.json's `domain` (`avdfd.evaluation.domain`)."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from avdfd.metrics.domain import OVERALL
from avdfd.report import frame, plots
from avdfd.report.frame import Rows
from avdfd.report.numbers import align, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADING = "<h2>Is this what it was trained on?</h2>"
_NOTE = (
    "The distance is that of Mahalanobis from the nearest class of the training split, in the features of each "
    "branch; overall, the largest of the branches, each divided by its limit: beyond 1, a clip is out of domain. "
    "Limits are set so that at most 1 % of clips like the {clips} calibration clips are beyond any; where these are "
    "few, a limit is the largest of theirs. They are the validation clips and, of ten training identities or more, "
    "training clips at their distance from those of other identities. Clips shorter than a window are compared with "
    "such clips cut short. Percentiles are those of calibration clips. Errors are those of the {main} score at the "
    "threshold {threshold}."
)
_CAPTION = (
    "Share of clips judged wrongly, in bins of equal size along the distance from the training data. Beyond the dotted "
    "line, a clip is out of domain."
)


def domain_sentence(result: Mapping[str, Any]) -> str:
    """Return how many clips are out of domain, or why that is not known; empty for reports of earlier versions."""
    of = result.get("domain")
    if not of:
        return ""
    if "missing" in of:
        return f"Distance from the training data: not known, {of['missing']}."
    tiers = ", ".join(f"{tier} {100 * one['outside']:.1f} %" for tier, one in of["tiers"].items())
    return (
        f"Out of domain: {100 * of['outside']:.1f} % of the clips ({tiers}), further from the training data than "
        f"clips of other identities are.{_built_in(of)}"
    )


def domain_text(result: Mapping[str, Any]) -> list[str]:
    """Return the table of errors by distance as text; empty if distances are not known."""
    of = result.get("domain") or {}
    return [align(_range_rows(of))] if "ranges" in of else []


def domain_html(result: Mapping[str, Any]) -> str:
    """Return heading, sentence, tables and figure; only the sentence if distances are not known."""
    of, sentence = result.get("domain") or {}, f"<p>{escape(domain_sentence(result))}</p>"
    if "ranges" not in of:
        return _HEADING + sentence if of else ""
    note = _NOTE.format(clips=of["calibration_clips"], main=result["main"], threshold=number(of["threshold"]))
    tables = "".join(_table(rows) for rows in (_tier_rows(of), _range_rows(of)))
    figure = frame.figure("domain", "Errors by distance", _CAPTION, plots.svg(draw(of)), _points(of))
    facts = frame.facts(_facts(of["facts"]))
    return f"{_HEADING}{sentence}{tables}<p class=note>{escape(note)}</p><div class=figures>{figure}</div>{facts}"


def draw(section: Mapping[str, Any]) -> "Figure":
    """Return the figure of errors over distance."""
    curve = section["curve"]
    curves = {"errors": (curve["distance"], curve["error"])}
    return plots.error_rates(curves, "distance from the training data", (1.0, "out of domain"))


def _built_in(of: Mapping[str, Any]) -> str:
    return (
        " It was trained on the built-in corpus: its scores say nothing about real recordings."
        if of["facts"]["corpus"]["built_in"]
        else ""
    )


def _tier_rows(of: Mapping[str, Any]) -> list[list[str]]:
    names = [*of["branches"], OVERALL]
    rows = [["tier", "clips", "out of domain", *(f"{name}, median (percentile)" for name in names)]]
    for tier, one in of["tiers"].items():
        places = [f"{one['median'][n]['distance']:.2f} ({one['median'][n]['percentile']:.0f})" for n in names]
        rows.append([tier, str(one["clips"]), f"{100 * one['outside']:.1f} %", *places])
    return rows


def _range_rows(of: Mapping[str, Any]) -> list[list[str]]:
    head = [
        "distance, percentile",
        "clips",
        "fakes",
        "real clips called fake",
        "fakes called real",
        "AUC",
    ]
    rows = [
        [
            one["distance"],
            str(one["clips"]),
            str(one["fakes"]),
            *(_known(one[n]) for n in ("false_alarms", "misses", "auc")),
        ]
        for one in of["ranges"]
    ]
    return [head, *rows]


def _known(value: float | None) -> str:
    return "-" if value is None else number(value)


def _table(rows: list[list[str]]) -> str:
    head = "".join(f"<th class=num>{escape(cell)}</th>" for cell in rows[0][1:])
    body = "".join(
        f"<tr><th scope=row>{escape(name)}</th>{''.join(f'<td class=num>{cell}</td>' for cell in cells)}</tr>"
        for name, *cells in rows[1:]
    )
    return frame.box(f"<thead><tr><th>{escape(rows[0][0])}</th>{head}</tr></thead>", body)


def _points(of: Mapping[str, Any]) -> Rows:
    return [["distance", "error"], *zip(of["curve"]["distance"], of["curve"]["error"], strict=True)]


def _facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of the training data, by name."""
    corpus, audio = facts["corpus"], facts["audio"]
    values = {
        "training data": f"{corpus['elements']}: {corpus['clips']} clips of {corpus['identities']} identities",
        "tiers": ", ".join(corpus["tiers"]),
        "methods": ", ".join(corpus["methods"]) or "none stated",
    }
    for name, title in (("bandwidth_hz", "bandwidth of the audio in Hz"), ("level_db", "level of the audio in dB")):
        if name in audio:
            values[f"{title}, 5 %, 50 %, 95 %"] = ", ".join(f"{value:.0f}" for value in audio[name])
    return values
