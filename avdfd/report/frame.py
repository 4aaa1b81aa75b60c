"""The frame of a page: one file that asks no network for anything, its figures with their data, its tables sortable."""

import csv
import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from avdfd.report.script import SCRIPT
from avdfd.report.style import STYLE

Rows = Sequence[Sequence[Any]]
"""The names of the columns, then a row for each point."""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file. A browser is told to fetch nothing, and to run no script but the one that sorts tables."""
    script = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">\n'
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def figure(name: str, title: str, caption: str, svg: str, rows: Rows) -> str:
    """As an image of its own: ids inside one SVG cannot meet those of another."""
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    return (
        f"<figure><h3>{escape(title)}</h3><img alt='{escape(title)}' src='{source}'>"
        f"<figcaption>{caption} {download(name, rows)}</figcaption></figure>"
    )


def download(name: str, rows: Rows) -> str:
    """A link that holds the rows as a CSV file."""
    data = b64encode(as_csv(rows).encode()).decode()
    return f"<a download='{escape(name)}.csv' href='data:text/csv;charset=utf-8;base64,{data}'>Data (CSV)</a>"


def box(head: str, body: str) -> str:
    """A table that scrolls in its own box where it is too wide."""
    return f"<div class=box tabindex=0><table>{head}<tbody>{body}</tbody></table></div>"


def as_csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
