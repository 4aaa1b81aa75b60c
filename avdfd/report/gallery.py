"""The failure gallery, from report.json's `failures`: the worst errors, with what explains them."""

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from avdfd.report.frame import download

_NOTE = (
    "Of each class the clips furthest among the other: a fake by the part of the real clips that score higher, "
    "a real clip by the part of the fakes that score lower. The picture is the beginning, middle and end of the most "
    "wrong window; the command draws why."
)
_COLUMNS = ("clip", "tier", "label", "score", "wrong", "key", "start")


def as_html(result: Mapping[str, Any]) -> str:
    """Heading and cards; nothing if the report has none."""
    failures = result.get("failures")
    if failures is None:
        return ""
    if not failures["worst"]:
        return "<h2>What does it get wrong?</h2><p>No fake scores below a real clip.</p>"
    cards = "".join(_card(one, result["runs"][0]["folder"], failures["videos"]) for one in failures["worst"])
    more = "" if failures["videos"] else " With --videos ROOT, paths are whole and are links."
    rows = [_COLUMNS, *([one[name] for name in _COLUMNS] for one in failures["worst"])]
    return (
        f"<h2>What does it get wrong?</h2><div class='figures gallery'>{cards}</div>"
        f"<p class=note>{_NOTE}{more} {download('failures', rows)}</p>"
    )


def _card(one: Mapping[str, Any], run: str, videos: str | None) -> str:
    kind, others = ("fake", "reals score higher") if one["label"] else ("real", "fakes score lower")
    path = Path(videos or "", one["clip"])
    name = escape(one["clip"])
    link = f"<a href='{escape(path.resolve().as_uri())}'>{name}</a>" if videos else name
    picture = f"<img alt='{name}' src='data:image/jpeg;base64,{one['picture']}'>" if one["picture"] else ""
    plot = f"{PurePosixPath(one['clip']).stem}.png"
    command = f".venv/bin/python detect.py --run {shlex.quote(run)} {shlex.quote(str(path))} --plot {shlex.quote(plot)}"
    return (
        f"<figure>{picture}<figcaption><strong>{escape(one['tier'])}, {kind}: P(fake) {one['score']:.3f}</strong>, "
        f"{one['wrong']:.0%} of the {others}.<br>{link}, window from {one['start']:.1f} s"
        f"<code>{escape(command)}</code></figcaption></figure>"
    )
