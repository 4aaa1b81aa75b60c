"""The report of an evaluation, for a terminal and as one self-contained HTML page (no script, no network).

Both are made from the content of report.json, the page from the figures as well.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from avdfd.robustness import page as robustness

SHORTCUT = 0.6
"""A probe above this has found something, and the page says so at its head."""

_NAMES = {
    "ap": "AP",
    "eer": "EER",
    "balanced_accuracy": "Balanced accuracy at 0.5",
    "balanced_accuracy_at_validation_eer": "Balanced accuracy, validation threshold",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
}
_CAPTIONS = {
    "roc_branches": ("ROC by branch and system", "All tiers together against RVRA."),
    "roc_tiers": ("ROC by tier", "Each fake tier against RVRA; {branch} score."),
    "distributions": ("Scores by tier", "How many clips have which {branch} score; each row to its own scale."),
    "weights": (
        "Confidence weight by tier",
        "Part of the audio branch in the fused score: a dot is a clip, a bar the median.",
    ),
}


def as_text(result: Mapping[str, Any]) -> str:
    """AUC of every branch by tier, then the other metrics of the main branch, as aligned text."""
    branches, main = result["branches"], result["main"]
    auc = [["AUC", "clips", "identities", *branches]]
    rest = [[main, *(_NAMES[name] for name in _others(result))]]
    for name, section in _rows(result):
        auc.append([name, str(section["clips"]), str(section["identities"])])
        auc[-1] += [_with_interval(section[branch], "auc") for branch in branches]
        rest.append([name, *(_with_interval(section[main], metric) for metric in _others(result))])
    tables = [_align(auc), _align(rest)]
    if "robustness" in result:
        tables.append(_align(robustness.as_text(result["robustness"], branches)))
    if "probes" in result:
        cues = list(next(iter(result["probes"].values())))
        lines = [[tier, *(_number(aucs[cue]) for cue in cues)] for tier, aucs in result["probes"].items()]
        tables.append(_align([["shortcut probes, AUC", *cues], *lines]))
    return "\n\n".join(tables)


def build(result: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The page, from report.json's content and figures as SVG text by name."""
    title = f"{result['run']} on {result['split']}"
    parts = [
        f"<h1>{escape(result['run'])} <small>on {escape(result['split'])}</small></h1>",
        _summary(result),
        _warnings(result),
        "<h2>Can it tell fakes from reals?</h2>",
        _auc_table(result),
        f"<p class=note>{_how_to_read(result)}</p>",
        "<h2>Curves</h2>",
        f"<div class=figures>{''.join(_figure(name, svg, result) for name, svg in figures.items())}</div>",
        "<h2>All metrics</h2>",
        _metrics_table(result),
        f"<p class=note>{_about_metrics(result)}</p>",
        robustness.as_html(result["robustness"], result["branches"]) if "robustness" in result else "",
        _probes(result),
        "<h2>What was run</h2>",
        _facts(result),
        f"<pre>{escape(json.dumps(result['config'], indent=2))}</pre>",
    ]
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def shortcuts(result: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """(tier, cue, AUC) of every probe that found something, the strongest first."""
    found = [(tier, cue, auc) for tier, aucs in result.get("probes", {}).items() for cue, auc in aucs.items()]
    return sorted((f for f in found if f[2] > SHORTCUT), key=lambda f: -f[2])


# ---- parts of the page


def _summary(result: Mapping[str, Any]) -> str:
    overall, main = result["overall"], result["main"]
    low_high = overall[main]["auc_interval"]
    interval = f", 95 % interval {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
    return (
        f"<p class=lead>AUC <strong>{_number(overall[main]['auc'])}</strong> ({main} score{interval}) over "
        f"{overall['clips']} clips of {overall['identities']} identities, {overall['fake_clips']} of them fake.</p>"
    )


def _warnings(result: Mapping[str, Any]) -> str:
    lines = []
    found = shortcuts(result)
    if found:
        named = ", ".join(f"{escape(cue)} on {escape(tier)} ({_number(auc)})" for tier, cue, auc in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        lines.append(f"Shortcuts in the data: without looking at the fake, AUC is above {SHORTCUT} from {named}{more}.")
    if result["overall"]["identities"] < 20:
        lines.append(f"Only {result['overall']['identities']} identities: take the intervals as too narrow.")
    return "".join(f"<p class=warning>{line}</p>" for line in lines)


def _auc_table(result: Mapping[str, Any]) -> str:
    branches = result["branches"]
    head = "".join(f"<th class=num>{escape(branch)}</th>" for branch in branches)
    body = ""
    for name, section in _rows(result):
        cells = "".join(_auc_cell(section[branch]) for branch in branches)
        counts = f"<td class=num>{section['fake_clips']}</td><td class=num>{section['identities']}</td>"
        body += f"<tr><th scope=row>{escape(name)}</th>{cells}{counts}</tr>"
    return _box(
        f"<thead><tr><th>AUC</th>{head}<th class=num>fakes</th><th class=num>identities</th></tr></thead>", body
    )


def _auc_cell(metrics: Mapping[str, Any]) -> str:
    """Tinted by how far it is from chance, in either direction."""
    strength = min(1.0, abs(metrics["auc"] - 0.5) * 2)
    color = "0,114,178" if metrics["auc"] >= 0.5 else "213,94,0"
    return f"<td class=num style='background:rgba({color},{0.35 * strength:.2f})'>{_html_interval(metrics, 'auc')}</td>"


def _metrics_table(result: Mapping[str, Any]) -> str:
    names = _others(result)
    head = "".join(f"<th class='num metric'>{_NAMES[name]}</th>" for name in names)
    body = ""
    for row, section in _rows(result):
        for i, branch in enumerate(result["branches"]):
            span = f"rowspan={len(result['branches'])}"
            label = f"<th scope=row {span}>{escape(row)}</th><td class=num {span}>{_number(section['prevalence'])}</td>"
            cells = "".join(f"<td class=num>{_html_interval(section[branch], name)}</td>" for name in names)
            body += f"<tr>{label if i == 0 else ''}<td>{escape(branch)}</td>{cells}</tr>"
    return _box(f"<thead><tr><th></th><th class=num>AP at chance</th><th></th>{head}</tr></thead>", body)


def _probes(result: Mapping[str, Any]) -> str:
    if "probes" not in result:
        return ""
    cues = list(next(iter(result["probes"].values())))
    head = "".join(f"<th class=num>{escape(cue.replace('_', ' '))}</th>" for cue in cues)
    body = ""
    for tier, aucs in result["probes"].items():
        cells = ""
        for cue in cues:
            found = aucs[cue] > SHORTCUT
            cells += f"<td class='num{' bad' if found else ''}'>{_number(aucs[cue])}{' !' if found else ''}</td>"
        body += f"<tr><th scope=row>{escape(tier)}</th>{cells}</tr>"
    note = (
        "AUC of a small classifier that is given nothing but this one property of the file, on identities it was not "
        f"fitted on, over all splits. About 0.5 is right; above {SHORTCUT} a detector may have learned the property "
        "instead of the fake."
    )
    table = _box(f"<thead><tr><th>AUC</th>{head}</tr></thead>", body)
    return f"<h2>Shortcut probes</h2>{table}<p class=note>{note}</p>"


def _facts(result: Mapping[str, Any]) -> str:
    facts = {key: result[key] for key in ("run", "kind", "split", "elements", "checkpoint_sha256", "git", "device")}
    for name, other in result["against"].items():
        facts[f"against {name}"] = f"{other['kind']}, checkpoint {other['checkpoint_sha256']}"
    facts["bootstrap"] = f"{result['bootstrap']} replicates over identities, seed {result['seed']}"
    rows = ""
    for name, value in facts.items():
        rows += f"<tr><th scope=row>{name.replace('_', ' ')}</th><td>{escape(str(value))}</td></tr>"
    return f"<div class=facts>{_box('', rows)}</div>"


def _how_to_read(result: Mapping[str, Any]) -> str:
    visual = (
        " The audio branch only hears and cannot tell a fake picture with real sound (FVRA); the visual branch "
        "compares the mouth with the sound." if "visual" in result["branches"] else ""
    )  # fmt: skip
    return (
        "Area under the ROC curve of each tier's fakes against the real clips: 0.5 is chance, 1 is perfect. Below it "
        "the bootstrap 95 % interval over identities. A clip's score is the mean over its windows; label 1 is fake for "
        f"every branch.{visual}"
    )


def _about_metrics(result: Mapping[str, Any]) -> str:
    reals = result["overall"]["clips"] - result["overall"]["fake_clips"]
    text = (
        "AP depends on how many fakes there are, so its value at chance is beside it. "
        f"TPR at 1 % FPR allows {reals // 100} of the {reals} real clips to be called fake."
    )
    tuned = result["validation_eer_threshold"]
    if tuned:
        values = ", ".join(f"{branch} {value:.3f}" for branch, value in tuned.items())
        return f"{text} Thresholds from validation: {values}."
    return (
        f"{text} Balanced accuracy is at the threshold 0.5; evaluate validation first to have it at a chosen one too."
    )


def _figure(name: str, svg: str, result: Mapping[str, Any]) -> str:
    """As an image of its own: ids inside one SVG cannot meet those of another."""
    title, caption = (text.format(branch=result["main"]) for text in _CAPTIONS[name])
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return f"<figure><h3>{title}</h3><img alt='{title}' src='{source}'><figcaption>{caption}</figcaption></figure>"


def _box(head: str, body: str) -> str:
    """A table that scrolls in its own box where it is too wide."""
    return f"<div class=box tabindex=0><table>{head}<tbody>{body}</tbody></table></div>"


# ---- numbers


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "overall", result["overall"]
    yield from result["tiers"].items()


def _others(result: Mapping[str, Any]) -> list[str]:
    """The metrics beside AUC that were measured."""
    return [name for name in _NAMES if name in result["overall"][result["main"]]]


def _number(value: float) -> str:
    return f"{value:.3f}"


def _with_interval(metrics: Mapping[str, Any], name: str) -> str:
    interval = metrics[f"{name}_interval"]
    return _number(metrics[name]) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _html_interval(metrics: Mapping[str, Any], name: str) -> str:
    interval = metrics[f"{name}_interval"]
    below = f"<span class=interval>{interval[0]:.3f} – {interval[1]:.3f}</span>" if interval else ""
    return _number(metrics[name]) + below


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


_STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --muted: #595959; --line: #d9d9d9; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h1 small { font-weight: 400; color: var(--muted); font-size: 1.1rem; }
h2 { font-size: 1.2rem; margin: 36px 0 10px; }
h3 { font-size: 1rem; margin: 0 0 6px; }
.lead { font-size: 1.1rem; margin: 0 0 12px; }
.note, figcaption { color: var(--muted); font-size: .875rem; max-width: 75ch; margin: 8px 0 0; }
.warning { border-left: 4px solid #b00020; background: #fdf0f1; padding: 8px 12px; margin: 8px 0; max-width: 75ch; }
.box { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: left; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; font-weight: 600; color: var(--muted); background: #fafafa; vertical-align: bottom; }
tbody:first-child tr:first-child > * { border-top: 0; }
tbody th { font-weight: 600; white-space: nowrap; position: sticky; left: 0; background: #fff; }
.num { text-align: right; }
.metric { min-width: 8.5em; }
.interval { display: block; color: var(--muted); font-size: .78rem; white-space: nowrap; }
.bad { background: #fbdde0; font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 28px 40px; }
figure { margin: 0; max-width: 470px; break-inside: avoid; }
.figures.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 16px 20px; }
figure img { width: 100%; height: auto; display: block; }
pre { font-size: .8rem; line-height: 1.4; padding: 12px; overflow-x: auto; }
pre, .box { border: 1px solid var(--line); border-radius: 6px; }
.facts td { overflow-wrap: anywhere; min-width: 11em; }
@media (max-width: 600px) {
  table { font-size: .84rem; }
  th, td { padding: 6px 7px; }
  .interval { font-size: .7rem; letter-spacing: -.01em; }
}
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 11px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .box, pre { overflow: visible; border: 0; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  th, td { padding: 3px 5px; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
}
"""
