"""HTML page without external resources: figures with their data, sortable tables."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from avdfd.core.files import csv_text
from avdfd.report.script import SCRIPT
from avdfd.report.style import STYLE

Rows = Sequence[Sequence[Any]]
"""Column names, then a row for each point."""


def page(title: str, parts: Iterable[str]) -> str:
    """Return the whole file. Its policy lets a browser fetch nothing and run only the script that sorts tables."""
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
    """Return a figure with heading, caption and a link to its data."""
    return (
        f"<figure><h3>{escape(title)}</h3>{image(title, svg)}"
        f"<figcaption>{caption} {download(name, rows)}</figcaption></figure>"
    )


def image(title: str, svg: str) -> str:
    """Return an SVG as an image of its own, so that its ids cannot clash with those of other SVGs."""
    return f"<img alt='{escape(title)}' src='data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}'>"


def download(name: str, rows: Rows) -> str:
    """Return a link that holds the rows as a CSV file."""
    data = b64encode(csv_text(rows).encode()).decode()
    return f"<a download='{escape(name)}.csv' href='data:text/csv;charset=utf-8;base64,{data}'>Data (CSV)</a>"


def box(head: str, body: str) -> str:
    """Return a table in a box that scrolls if the table is too wide."""
    return f"<div class=box tabindex=0><table>{head}<tbody>{body}</tbody></table></div>"


def facts(values: Mapping[str, str]) -> str:
    """Return a table of names and values."""
    rows = "".join(f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in values.items())
    return f"<div class=facts>{box('', rows)}</div>"
