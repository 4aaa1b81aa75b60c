"""The report of an evaluation, for a terminal and as one self-contained HTML page (no network).

Both are made from the content of report.json, which has the points of the figures too.

numbers    numbers as text     sentences  what they mean     tables  HTML     style  CSS
frame      the page itself     points     figures as rows    script  sorts tables
gallery    the worst errors    audit      shortcuts, leaks   robustness  perturbed clips
voices     distances to the prototype    compared   the page of many systems, and its table in other formats
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from matplotlib.figure import Figure

from avdfd.report import audit, frame, gallery, pages, plots, points, robustness, sentences, tables, voices
from avdfd.report.numbers import NAMES, align, difference, number, others, sections, with_interval

_CAPTIONS = {
    "roc_branches": ("ROC by branch and system", "All tiers together against RVRA."),
    "roc_tiers": ("ROC by tier", "Each fake tier against RVRA; {branch} score."),
    "distributions": ("Scores by tier", "How many clips have which {branch} score; each row to its own scale."),
    "reliability": (
        "Reliability",
        "Clips in bins of equal mass, {branch} score; on the diagonal a probability means what it says. Grey: where "
        "95 % of calibrated scores would be, by chance alone.",
    ),
    "weights": (
        "Confidence weight by tier",
        "Part of the audio branch in the fused score: a dot is a clip, a bar the median.",
    ),
}


def as_text(result: Mapping[str, Any]) -> str:
    """AUC of every branch by tier, the other metrics of the main branch, differences and what to know, as text."""
    branches, main = result["branches"], result["main"]
    shown = [name for name in others(result) if name != "tpr_at_0_1_fpr"]
    auc = [["AUC", "clips", "identities", *branches]]
    rest = [[main, "AP at chance", *(NAMES[name] for name in shown)]]
    for name, section in sections(result):
        auc.append([name, str(section["clips"]), str(section["identities"])])
        auc[-1] += [with_interval(section[branch], "auc") for branch in branches]
        measured = (with_interval(section[main], metric) for metric in shown)
        rest.append([name, number(section["prevalence"]), *measured])
    tables = [align(auc), align(rest)]
    if result["paired"]:
        rows = [name for name, _ in sections(result)]
        lines = [[f"less {other}", *(difference(of[row]) for row in rows)] for other, of in result["paired"].items()]
        tables.append(align([[f"AUC of {main}", *rows], *lines]))
    known = [
        sentences.few_people(result),
        sentences.protocol(result),
        sentences.calibrated(result),
        sentences.weights(result),
        voices.as_text(result),
        *(sentences.worst(result, name) for name in result["groups"]),
    ]
    tables.append("\n".join(line for line in known if line))
    if result.get("pages"):
        tables += [pages.branches_text(result["pages"]), pages.pages_text(result["pages"][main])]
    if "robustness" in result:
        tables.append(align(robustness.as_text(result["robustness"], branches)))
    tables += [align(rows) for rows in audit.as_text(result)]
    return "\n\n".join(tables)


def build(result: Mapping[str, Any]) -> str:
    """The page, from report.json's content."""
    title = f"{result['run']} on {result['split']}"
    figures = {name: plots.svg(figure) for name, figure in draw(result).items()}
    parts = [
        f"<h1>{escape(result['run'])} <small>on {escape(result['split'])}</small></h1>",
        _summary(result),
        _warnings(result),
        "<h2>Can it tell fakes from reals?</h2>",
        tables.auc(result),
        f"<p class=note>{sentences.how_to_read(result)}</p>",
        tables.paired(result),
        "<h2>Curves</h2>",
        f"<div class=figures>{''.join(_figure(name, svg, result) for name, svg in figures.items())}</div>",
        "<h2>All metrics</h2>",
        tables.metrics(result),
        f"<p class=note>{sentences.about_metrics(result)}</p>",
        "<h2>Do its probabilities mean what they say?</h2>",
        tables.calibration(result),
        f"<p class=note>{escape(sentences.calibrated(result))} {sentences.about_calibration(result)}</p>",
        "<h2>For whom, and on what?</h2>",
        tables.groups(result),
        f"<p class=note>{sentences.about_groups(result)}</p>",
        pages.pages_html(result),
        voices.as_html(result),
        gallery.as_html(result),
        robustness.as_html(result["robustness"], result["branches"]) if "robustness" in result else "",
        audit.as_html(result),
        "<h2>What was run</h2>",
        tables.facts(result),
        f"<pre>{escape(json.dumps(result['config'], indent=2))}</pre>",
    ]
    return frame.page(title, parts)


def draw(result: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures, from their points in report.json."""
    curves, calibration = result["curves"], result["calibration"][result["main"]]
    figures = {
        "roc_branches": plots.roc_curves(curves["roc_branches"]),
        "roc_tiers": plots.roc_curves(curves["roc_tiers"]),
        "reliability": plots.reliability({name: curve for name, curve in calibration.items() if curve}),
        "distributions": plots.distributions(curves["distributions"]),
    }
    if result["weight_audio"]:
        weights = result["weight_audio"]
        figures["weights"] = plots.dots(
            {tier: of["values"] for tier, of in weights.items()},
            {tier: of["median"] for tier, of in weights.items()},
            "weight of the audio branch",
            limits=(-0.02, 1.02),  # a dot at an end is seen whole
            middle=0.5,
        )
    return figures


def _summary(result: Mapping[str, Any]) -> str:
    overall, main = result["overall"], result["main"]
    low_high = overall[main]["auc_interval"]
    interval = f", 95 % interval {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
    return (
        f"<p class=lead>AUC <strong>{number(overall[main]['auc'])}</strong> ({main} score{interval}) over "
        f"{overall['clips']} clips of {overall['identities']} identities, {overall['fake_clips']} of them fake"
        f"{sentences.over_runs(result)}.</p><p>{escape(sentences.protocol(result))}</p>"
    )


def _warnings(result: Mapping[str, Any]) -> str:
    lines = [escape(line) for line in audit.warnings(result.get("audit", {}))]
    lines += filter(None, [sentences.few_people(result)])
    return "".join(f"<p class=warning>{line}</p>" for line in lines)


def _figure(name: str, svg: str, result: Mapping[str, Any]) -> str:
    title, caption = (text.format(branch=result["main"]) for text in _CAPTIONS[name])
    return frame.figure(name, title, caption, svg, points.POINTS[name](result))
