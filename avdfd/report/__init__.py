"""The report of an evaluation, as text for a terminal and as one self-contained HTML page that needs no network.

Both are rendered from the content of report.json, which also holds the points of the figures. Nothing here computes a
metric or decides anything.

numbers    numbers as text     sentences  results in words   tables  HTML tables        style  CSS
frame      the HTML page       points     figures as CSV     script  sortable tables    files  what is written
gallery    worst errors        audit      shortcuts, leaks   robustness  perturbed clips
counterfactuals    use of the relation of audio and video    vocoded  false alarms on vocoded real speech
voices     distances to the prototype     pages  metrics by page
domain     distances from the training data
comparison many systems, as a page and as tables in other formats
plots      figures of reports  timeline, overlay, inspection  drawings of one media file  verdict  it as text
"""

import json
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from avdfd.report import (
    audit,
    counterfactuals,
    domain,
    frame,
    gallery,
    pages,
    plots,
    points,
    robustness,
    sentences,
    tables,
    vocoded,
    voices,
)
from avdfd.report.numbers import (
    LOCALISED,
    NAMES,
    align,
    branch_weights,
    difference,
    number,
    others,
    sections,
    with_interval,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "roc_branches": ("ROC by branch and system", "All fakes against the real clips (RVRA)."),
    "roc_tiers": ("ROC by tier", "The fakes of each tier against the real clips; {branch} score."),
    "distributions": ("Scores by tier", "Number of clips by {branch} score; each row has its own scale."),
    "reliability": (
        "Reliability",
        "Clips in bins of equal size, {branch} score. On the diagonal, scores are calibrated probabilities. Grey: the "
        "range of 95 % of calibrated scores by chance alone.",
    ),
    "coverage": (
        "Coverage and errors",
        "Errors among all clips of a kind against the share of clips that are decided, {branch} score: each point is a "
        "band of scores that allows 1, 2, 5, 10 or 20 % errors of each kind on validation.",
    ),
    "weights": (
        "Confidence weight by tier",
        "Weight of each branch in the fused score: a dot is a clip, a bar the median.",
    ),
}


def summary_text(result: Mapping[str, Any]) -> str:
    """Return the AUC of every branch by tier, the other metrics of the main branch, differences and notes as text."""
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
        lines = [[f"minus {other}", *(difference(of[row]) for row in rows)] for other, of in result["paired"].items()]
        tables.append(align([[f"AUC of {main}", *rows], *lines]))
    known = [
        sentences.spared(result),
        result.get("without_elements", ""),
        sentences.outside(result),
        sentences.few_identities(result),
        sentences.short_clips(result),
        sentences.at_threshold(result),
        sentences.protocol(result),
        sentences.calibrated(result),
        sentences.decided(result),
        domain.domain_sentence(result),
        sentences.carried(result),
        sentences.in_sync(result),
        sentences.weights(result),
        voices.voices_sentence(result),
        counterfactuals.NOT_RUN if counterfactuals.is_missing(result) else "",
        *(sentences.worst(result, name) for name in result["groups"]),
    ]
    tables.append("\n".join(line for line in known if line))
    tables += domain.domain_text(result)
    if result.get("localisation"):
        tables += [align(_localised(result)), align(_by_window(result))]
    if alarms := vocoded.vocoded_rows(result):
        tables.append(align(alarms))
    if result.get("pages"):
        tables += [pages.branches_text(result["pages"]), pages.pages_text(result["pages"][main])]
    if "counterfactuals" in result:
        tables += counterfactuals.counterfactuals_text(result)
    if "robustness" in result:
        tables.append(align(robustness.robustness_rows(result["robustness"], branches)))
        tables += robustness.left_out(result["robustness"])
    tables += [align(rows) for rows in audit.audit_rows(result)]
    return "\n\n".join(tables)


def _localised(result: Mapping[str, Any]) -> list[list[str]]:
    rows = [["localisation", "from", *LOCALISED.values()]]
    for name, of in result["localisation"]["systems"].items():
        rows.append([name, of["from"], *(with_interval(of, metric) for metric in LOCALISED)])
    return rows


def _by_window(result: Mapping[str, Any]) -> list[list[str]]:
    rows = [["AUC per window", "windows", *result["branches"]]]
    for name, of in [("overall", result["windows"]), *result["window_groups"].items()]:
        cells = (with_interval(of[branch], "auc") if branch in of else "–" for branch in result["branches"])
        rows.append([name, str(of["clips"]), *cells])
    return rows


def build(result: Mapping[str, Any]) -> str:
    """Return the HTML page, given the content of report.json."""
    title = f"{result['run']} on {result['split']}"
    figures = {name: plots.svg(figure) for name, figure in draw(result).items()}
    parts = [
        f"<h1>{escape(result['run'])} <small>on {escape(result['split'])}</small></h1>",
        _summary(result),
        _warnings(result),
        "<h2>Does it separate fakes from real clips?</h2>",
        tables.auc(result),
        f"<p class=note>{sentences.how_to_read(result)}</p>",
        tables.carried(result),
        tables.paired(result),
        vocoded.vocoded_html(result),
        counterfactuals.counterfactuals_html(result),
        "<h2>Curves</h2>",
        f"<div class=figures>{''.join(_figure(name, svg, result) for name, svg in figures.items())}</div>",
        "<h2>All metrics</h2>",
        tables.metrics(result),
        f"<p class=note>{sentences.about_metrics(result)}</p>",
        "<h2>Are its probabilities calibrated?</h2>",
        tables.calibration(result),
        f"<p class=note>{escape(sentences.calibrated(result))} {sentences.about_calibration(result)}</p>",
        "<h2>How many clips can be decided?</h2>" if result.get("coverage") else "",
        tables.coverage(result),
        domain.domain_html(result),
        tables.windows(result),
        tables.localisation(result),
        "<h2>By method and group</h2>",
        tables.groups(result),
        f"<p class=note>{sentences.about_groups(result)}</p>",
        pages.pages_html(result),
        voices.voices_html(result),
        gallery.gallery_html(result),
        robustness.robustness_html(result["robustness"], result["branches"]) if "robustness" in result else "",
        audit.audit_html(result),
        "<h2>Provenance</h2>",
        tables.facts(result),
        f"<pre>{escape(json.dumps(result['config'], indent=2))}</pre>",
    ]
    return frame.page(title, parts)


def draw(result: Mapping[str, Any]) -> "dict[str, Figure]":
    """Return the figures, drawn from their points in report.json."""
    curves, calibration = result["curves"], result["calibration"][result["main"]]
    figures = {
        "roc_branches": plots.roc_curves(curves["roc_branches"]),
        "roc_tiers": plots.roc_curves(curves["roc_tiers"]),
        "reliability": plots.reliability({name: curve for name, curve in calibration.items() if curve}),
        "distributions": plots.distributions(curves["distributions"]),
    }
    if result.get("coverage"):
        figures["coverage"] = plots.error_rates(points.coverage_curves(result), "share of clips decided")
    if weights := branch_weights(result):
        figures["weights"] = plots.weights(weights)
    return figures


def _summary(result: Mapping[str, Any]) -> str:
    overall, main = result["overall"], result["main"]
    low_high = overall[main]["auc_interval"]
    interval = f", 95 % interval {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
    return (
        f"<p class=lead>AUC <strong>{number(overall[main]['auc'])}</strong> ({main} score{interval}) over "
        f"{overall['clips']} clips of {overall['identities']} identities, {overall['fake_clips']} of them fake"
        f"{sentences.over_runs(result)}.</p><p>{escape(sentences.at_threshold(result))}</p>"
        f"<p>{escape(sentences.protocol(result))}</p>"
    )


def _warnings(result: Mapping[str, Any]) -> str:
    lines = [escape(line) for line in audit.warnings(result.get("audit", {}))]
    lines += filter(
        None,
        [
            sentences.spared(result),
            escape(result.get("without_elements", "")),
            sentences.outside(result),
            sentences.few_identities(result),
        ],
    )
    return "".join(f"<p class=warning>{line}</p>" for line in lines)


def _figure(name: str, svg: str, result: Mapping[str, Any]) -> str:
    title, caption = (text.format(branch=result["main"]) for text in _CAPTIONS[name])
    return frame.figure(name, title, caption, svg, points.POINTS[name](result))
