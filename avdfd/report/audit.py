"""The audit section of the report, from report.json's `audit` (`avdfd.evaluation.audit.verdicts`)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from avdfd.evaluation.audit import verdicts
from avdfd.evaluation.audit.probes import SHORTCUT
from avdfd.report import frame
from avdfd.report.numbers import number

_NOTE = (
    "AUC of a small classifier that is given only this property of a clip, on identities it was not fitted on, over "
    "all splits. It should be about 0.5. Marked: above {shortcut} and more than chance explains, given the number of "
    "probes. A detector may have learned a marked property instead of the manipulation. In tiers with fake video, the "
    "first frame may show the manipulation itself."
)
_NAMED = 5
_LEFT_OUT = ["not probed", "in", "tiers or splits", "reason"]
_UNREADABLE = ["file not probed", "reason"]
_SHARED = {"picture+sound": "video and audio", "picture": "video", "sound": "audio"}
"""Kind of near-duplicates in report.json -> words of the report."""


def warnings(audit: Mapping[str, Any]) -> list[str]:
    """Return the warnings for the head of a report: shortcuts, possible shortcuts, and leaks between splits."""
    lines = []
    if sure := verdicts.shortcuts(audit):
        lines.append(f"Shortcuts in the data: one property alone has an AUC above {SHORTCUT}: {_named(sure)}.")
    if doubtful := verdicts.possible_shortcuts(audit):
        lines.append(f"Also above {SHORTCUT}, but on so few clips that it may be chance: {_named(doubtful)}.")
    if leaks := audit.get("leaks"):
        kinds = [f"{_kind(leak)} in {' and '.join(leak['splits'])}" for leak in leaks]
        lines.append(f"Leaks between splits: {_first(kinds)}. Results on these clips are no evidence.")
    return lines


def _named(probes: Sequence[tuple[str, str, float]]) -> str:
    return _first([f"{cue} on {tier} ({auc:.3f})" for tier, cue, auc in probes])


def audit_rows(result: Mapping[str, Any]) -> list[list[list[str]]]:
    """Return tables as rows: the probes beside the detector, and the leaks; none without an audit."""
    if "audit" not in result:
        return []
    main, tables = result["main"], []
    for where, tiers in result["audit"]["probes"].items():
        cues = _cues(tiers)
        rows = [[tier, *(number(of[cue]["auc"]) if cue in of else "" for cue in cues)] for tier, of in tiers.items()]
        beside = [_detector(result, tier) for tier in tiers]
        head = [f"shortcut probes, {where}, AUC", *cues, f"the detector ({main})"]
        tables.append([head, *([*row, auc] for row, auc in zip(rows, beside, strict=True))])
    leaks = [[_kind(leak), leak["what"], ", ".join(leak["splits"])] for leak in result["audit"]["leaks"]]
    if leaks:
        tables.append([["leak", "what", "splits"], *leaks])
    for head, rows in ((_LEFT_OUT, _left_out(result["audit"])), (_UNREADABLE, _unreadable(result["audit"]))):
        tables += [[head, *rows]] if rows else []
    return tables


def _left_out(audit: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each probe or fingerprint that was left out, with all its tiers or splits."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for where, parts in audit.get("left_out", {}).items():
        for part, reasons in parts.items():
            for what, reason in reasons.items():
                places.setdefault((what, where, reason), []).append(part)
    return [[what, where, ", ".join(parts), reason] for (what, where, reason), parts in places.items()]


def _unreadable(audit: Mapping[str, Any]) -> list[list[str]]:
    return [[source, reason] for source, reason in audit.get("unreadable", {}).items()]


def audit_html(result: Mapping[str, Any]) -> str:
    """Return headings and tables; empty without an audit."""
    if "audit" not in result:
        return ""
    audit = result["audit"]
    tables = "".join(_probes(result, where, tiers) for where, tiers in audit["probes"].items())
    note = f"<p class=note>{_NOTE.format(shortcut=SHORTCUT)}</p>" if tables else ""
    for head, rows in ((_LEFT_OUT, _left_out(audit)), (_UNREADABLE, _unreadable(audit))):
        cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        tables += frame.box(f"<thead><tr>{cells}</tr></thead>", body) if rows else ""
    return (f"<h2>Shortcut probes</h2>{tables}{note}" if tables else "") + _leaks(audit)


def _probes(result: Mapping[str, Any], where: str, tiers: Mapping[str, Any]) -> str:
    cues = _cues(tiers)
    head = "".join(f"<th class=num>{escape(cue.replace('_', ' '))}</th>" for cue in cues)
    body = ""
    for tier, of in tiers.items():
        cells = "".join(_cell(of.get(cue)) for cue in cues)
        body += f"<tr><th scope=row>{escape(tier)}</th>{cells}<td class=num>{_detector(result, tier)}</td></tr>"
    head = f"<thead><tr><th>AUC, {escape(where)}</th>{head}<th class=num>the detector</th></tr></thead>"
    return frame.box(head, body)


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "<td></td>"
    auc = number(one["auc"])
    return f"<td class='num bad'>{auc} !</td>" if one["shortcut"] else f"<td class=num>{auc}</td>"


def _leaks(audit: Mapping[str, Any]) -> str:
    if "clips" not in audit:
        return ""
    counts = ", ".join(f"{count} of {escape(split)}" for split, count in audit["clips"].items())
    looked = f"<p class=note>Compared: identities, source clips, bytes and fingerprints of {counts} clips.</p>"
    if not audit["leaks"]:
        return f"<h2>Leaks between splits</h2><p>None found.</p>{looked}"
    body = "".join(
        f"<tr><th scope=row>{escape(_kind(leak))}</th><td>{escape(leak['what'])}</td>"
        f"<td>{escape(', '.join(leak['splits']))}</td><td>{escape(', '.join(leak['clips']))}</td></tr>"
        for leak in audit["leaks"]
    )
    head = "<thead><tr><th>shared</th><th>which</th><th>splits</th><th>examples</th></tr></thead>"
    table = frame.box(head, body)
    return f"<h2>Leaks between splits</h2>{table}{looked}"


def _kind(leak: Mapping[str, Any]) -> str:
    return _SHARED.get(leak["kind"], leak["kind"])


def _detector(result: Mapping[str, Any], tier: str) -> str:
    """Return the AUC of the detector's main branch on a tier, or nothing if it was not tested on it."""
    section = result["tiers"].get(tier)
    return number(section[result["main"]]["auc"]) if section else ""


def _cues(tiers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(cue for of in tiers.values() for cue in of))


def _first(named: list[str]) -> str:
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
