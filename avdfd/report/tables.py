"""HTML tables of the report, from report.json."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from avdfd.evaluation.stored import OF_FILES
from avdfd.report import frame, sentences
from avdfd.report.frame import box
from avdfd.report.numbers import LOCALISED, NAMES, html_interval, number, others, p, sections, sure, temperatures


def auc(result: Mapping[str, Any]) -> str:
    """Return the table of AUC of every branch and system by tier, and per window."""
    by_window = [("per window", result["windows"])] if result["windows"] else []
    return _auc_rows(result, [*sections(result), *by_window])


def windows(result: Mapping[str, Any]) -> str:
    """Return heading and table of AUC per window, by tier and by fake modality; empty for a report without them."""
    groups = result.get("window_groups")
    if not groups:
        return ""
    table = _auc_rows(result, [("overall", result["windows"]), *groups.items()])
    return f"<h2>Per window</h2>{table}<p class=note>{sentences.about_windows(result)}</p>"


def _auc_rows(result: Mapping[str, Any], rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    branches = result["branches"]
    head = "".join(f"<th class=num>{escape(branch)}</th>" for branch in branches)
    body = ""
    for name, section in rows:
        cells = "".join(_auc_cell(section[branch]) if branch in section else "<td>–</td>" for branch in branches)
        counts = f"<td class=num>{section['fake_clips']}</td><td class=num>{section['identities']}</td>"
        new = "<span class=interval>not trained on</span>" if name in result["protocol"]["new_tiers"] else ""
        body += f"<tr><th scope=row>{escape(name)}{new}</th>{cells}{counts}</tr>"
    return box(f"<thead><tr><th>AUC</th>{head}<th class=num>fakes</th><th class=num>identities</th></tr></thead>", body)


def _auc_cell(metrics: Mapping[str, Any]) -> str:
    """Return a cell that is tinted by the distance from chance, in either direction."""
    strength = min(1.0, abs(metrics["auc"] - 0.5) * 2)
    color = "0,114,178" if metrics["auc"] >= 0.5 else "213,94,0"
    return f"<td class=num style='background:rgba({color},{0.35 * strength:.2f})'>{html_interval(metrics, 'auc')}</td>"


def carried(result: Mapping[str, Any]) -> str:
    """Return heading, sentence and table of the branches that carry each tier; empty if that is not known."""
    found, sync = result.get("carried"), result.get("less_in_sync")
    if not found:
        return ""
    body = ""
    for tier, of in found.items():
        cells = f"<td>{escape(', '.join(of['above']) or 'none')}</td><td>{escape(', '.join(of['below']) or '–')}</td>"
        cells += _auc_cell(sync[tier]) if sync else ""
        body += f"<tr><th scope=row>{escape(tier)}</th>{cells}</tr>"
    more = "<th class=num>less in sync</th>" if sync else ""
    table = box(
        f"<thead><tr><th>tier</th><th>carried by</th><th>scored lower than real clips by</th>{more}</tr></thead>", body
    )
    lines = [sentences.carried(result), sentences.in_sync(result)]
    text = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return f"<h2>Which branch carries which tier?</h2>{text}{table}<p class=note>{sentences.about_carried(result)}</p>"


def paired(result: Mapping[str, Any]) -> str:
    """Return the differences of the main branch from every other by tier; empty without others."""
    if not result["paired"]:
        return ""
    rows = [name for name, _ in sections(result)]
    head = "".join(f"<th class=num>{escape(row)}</th>" for row in rows)
    body = ""
    for other, of in result["paired"].items():
        cells = "".join(difference_cell(of[row], _tests(of[row])) for row in rows)
        body += f"<tr><th scope=row>{escape(other)}</th>{cells}</tr>"
    note = (
        f"AUC of the {result['main']} score minus that of every other on the same clips. The 95 % interval and the "
        "two-sided p come from the paired bootstrap over identities, p(D) from DeLong's test with the clips of an "
        "identity as a cluster. Tinted: the interval excludes 0. p is not corrected for multiple comparisons."
    )
    table = box(f"<thead><tr><th>{escape(result['main'])} minus</th>{head}</tr></thead>", body)
    return f"<h2>Is it better than the others?</h2>{table}<p class=note>{escape(note)}</p>"


def difference_cell(apart: Mapping[str, Any], more: str = "") -> str:
    """Return a cell with a `difference` and its `interval`, tinted if that excludes 0, and `more` below it."""
    interval = apart["interval"]
    if interval is None:
        return f"<td class=num>{apart['difference']:+.3f}</td>"
    color = "0,114,178" if apart["difference"] > 0 else "213,94,0"
    tint = f" style='background:rgba({color},.18)'" if sure(apart) else ""
    below = f"<span class=interval>{interval[0]:+.3f} to {interval[1]:+.3f}</span>"
    return f"<td class=num{tint}>{apart['difference']:+.3f}{below}{more}</td>"


def localisation(result: Mapping[str, Any]) -> str:
    """Return heading and table of the localisation of fake periods; empty if no clip is partly fake."""
    if not result.get("localisation"):
        return ""
    found = result["localisation"]["systems"]
    head = "".join(f"<th class=num>{text}</th>" for text in LOCALISED.values())
    body = ""
    for name, of in found.items():
        cells = "".join(f"<td class=num>{html_interval(of, metric)}</td>" for metric in LOCALISED)
        body += f"<tr><th scope=row>{escape(name)}</th><td class=name>{escape(of['from'])}</td>{cells}</tr>"
    table = box(f"<thead><tr><th>score</th><th>from</th>{head}</tr></thead>", body)
    return f"<h2>Where is the fake?</h2>{table}<p class=note>{sentences.about_localisation(result)}</p>"


def _tests(pair: Mapping[str, Any]) -> str:
    if pair["interval"] is None:
        return ""
    delong = "" if pair["delong_p"] is None else f", p(D) {p(pair['delong_p'])}"
    return f"<span class=interval>p {p(pair['p'])}{delong}</span>"


def metrics(result: Mapping[str, Any]) -> str:
    """Return the table of all other metrics of every branch by tier."""
    names = others(result)
    head = "".join(f"<th class='num metric'>{NAMES[name]}</th>" for name in names)
    body = ""
    for row, section in sections(result):
        for branch in result["branches"]:
            label = f"<th scope=row>{escape(row)}</th><td class=name>{escape(branch)}</td>"
            cells = "".join(f"<td class=num>{html_interval(section[branch], name)}</td>" for name in names)
            body += f"<tr>{label}<td class=num>{number(section['prevalence'])}</td>{cells}</tr>"
    return box(f"<thead><tr><th>tier</th><th>score</th><th class=num>AP at chance</th>{head}</tr></thead>", body)


def coverage(result: Mapping[str, Any]) -> str:
    """Return the table of what bands of uncertain scores decide, and with how many errors; empty without bands."""
    if not result.get("coverage"):
        return ""
    names = ("allowed", "coverage", "false_alarms", "misses")
    body = "".join(
        f"<tr>{''.join(f'<td class=num>{100 * row[name]:.1f} %</td>' for name in names)}</tr>"
        for row in result["coverage"]
    )
    titles = ("errors allowed on validation", "clips decided", "real clips called fake", "fakes called real")
    return box(f"<thead><tr>{''.join(f'<th class=num>{title}</th>' for title in titles)}</tr></thead>", body)


def calibration(result: Mapping[str, Any]) -> str:
    """Return the table of calibration metrics before and after temperature scaling."""
    body = ""
    for branch in result["branches"]:
        metrics, curve = result["overall"][branch], result["calibration"][branch]["before"]
        fitted = result["fitted"].get(branch)
        cells = f"<td class=num>{temperatures(fitted) if fitted else '–'}</td>"
        for name in ("ece", "brier", "log_loss"):
            for key in (name, f"{name}_calibrated"):
                cells += f"<td class=num>{html_interval(metrics, key)}</td>"
            if name == "ece":
                cells += f"<td class=num>{number(curve['ece_by_chance'])}</td>"
        body += f"<tr><th scope=row>{escape(branch)}</th>{cells}</tr>"
    names = ("temperature", "ECE", "at T", "by chance", "Brier", "at T", "log loss", "at T")
    head = "".join(f"<th class=num>{name}</th>" for name in names)
    return box(f"<thead><tr><th>score</th>{head}</tr></thead>", body)


def groups(result: Mapping[str, Any]) -> str:
    """Return the table of AUC by method and by group of identities; the worst group is marked."""
    main = result["main"]
    body = ""
    for title, members, worst in [
        ("method", result["methods"], None),
        *((title, group["members"], group["worst"]) for title, group in result["groups"].items()),
    ]:
        body += f"</tbody><tbody><tr><th colspan=5 scope=rowgroup class=group>{escape(title)}</th></tr>"
        for name, part in members.items():
            if part.get("too_small"):
                cells = "<td class=num>too few clips</td><td class=num>–</td>"
            else:
                bad = " bad" if name == worst else ""
                cells = f"<td class='num{bad}'>{html_interval(part[main], 'auc')}</td>"
                cells += f"<td class=num>{html_interval(part[main], 'balanced_accuracy')}</td>"
            counts = f"<td class='num name'>{part['fake_clips']} of {part['clips']}</td>"
            counts += f"<td class=num>{part['identities']}</td>"
            body += f"<tr><th scope=row>{escape(name)}{' (worst)' if name == worst else ''}</th>{cells}{counts}</tr>"
    names = (f"AUC, {main}", "balanced accuracy at 0.5", "fakes", "identities")
    head = "".join(f"<th class=num>{escape(name)}</th>" for name in names)
    return box(f"<thead><tr><th>group</th>{head}</tr></thead>", body)


def facts(result: Mapping[str, Any]) -> str:
    """Return the table of what is needed to repeat the evaluation."""
    values = {key: result[key] for key in ("kind", "split", "elements", "git", "device")}
    pooling, lists = result["pooling"], result["protocol"]["lists"]
    if pooling["windows"] != OF_FILES:
        values["windows"] = f"pooled by {pooling['windows']} of their P(fake) (domain: {pooling['domain']})"
    values["lists"] = f"{lists} ({result['protocol']['lists_protocol'] or 'no named protocol'})"
    for name, system in {"runs": result, **{f"against {k}": v for k, v in result["against"].items()}}.items():
        values[name] = f"{system['kind']}, {system['protocol']['name']}: {runs(system)}"
    values["bootstrap"] = bootstrap(result)
    return frame.facts(values)


def runs(system: Mapping[str, Any]) -> str:
    """Return the runs of a system as text."""
    return "; ".join(
        f"{r['file']}, column {r['score_column']}, sha256 {r['scores_sha256']}, scale {r['scale']}"
        + (", higher is real" if r["higher_is_real"] else "")
        if "scores_sha256" in r
        else f"{r['folder']}, seed {r['seed']}, checkpoint {r['checkpoint_sha256']}"
        for r in system["runs"]
    )


def bootstrap(result: Mapping[str, Any]) -> str:
    """Return how intervals were computed, as text."""
    return f"{result['bootstrap']} replicates over identities, seed {result['seed']}"
