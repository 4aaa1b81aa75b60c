"""False alarms on vocoded real speech, from report.json's `vocoded`, as text and as a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

from avdfd.evaluation.grouped_metrics import FALSE_ALARMS
from avdfd.report.frame import box
from avdfd.report.numbers import html_interval, with_interval

_NOTE = (
    "Real speech of the same speaker and words that was vocoded or coded (RVRA-V): the share called fake at the "
    "threshold of validation, and below it of the other real clips. These clips have no part in any other figure."
)
_NO_THRESHOLD = "Without a validation report of these weights there is no threshold, and so no false alarms."


def vocoded_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the table as rows of text; none for a report without such clips."""
    found = result.get("vocoded")
    if not found:
        return []
    branches = [name for name in result["branches"] if name in found["all"]]
    rows = [["false alarms on vocoded real clips", "clips", "identities", *branches]]
    for name, of in _parts(found):
        cells = (with_interval(of[branch], FALSE_ALARMS) if FALSE_ALARMS in of[branch] else "–" for branch in branches)
        rows.append([name, str(of.get("clips", "")), str(of.get("identities", "")), *cells])
    return rows


def vocoded_html(result: Mapping[str, Any]) -> str:
    """Return heading, table and note; empty for a report without such clips."""
    found = result.get("vocoded")
    if not found:
        return ""
    branches = [name for name in result["branches"] if name in found["all"]]
    head = "".join(f"<th class=num>{escape(branch)}</th>" for branch in branches)
    body = ""
    for name, of in _parts(found):
        cells = "".join(f"<td class=num>{html_interval(of[branch], FALSE_ALARMS)}</td>" for branch in branches)
        counts = f"<td class=num>{of.get('clips', '')}</td><td class=num>{of.get('identities', '')}</td>"
        body += f"<tr><th scope=row>{escape(name)}</th>{cells}{counts}</tr>"
    titles = f"<thead><tr><th>false alarms</th>{head}<th class=num>clips</th><th class=num>identities</th></tr></thead>"
    missing = "" if any(FALSE_ALARMS in found["all"][branch] for branch in branches) else f" {_NO_THRESHOLD}"
    return f"<h2>Is vocoded real speech called fake?</h2>{box(titles, body)}<p class=note>{_NOTE}{missing}</p>"


def _parts(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [("all of RVRA-V", found["all"]), *found["methods"].items(), ("other real clips (RVRA)", found["real"])]
