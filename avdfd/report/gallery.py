"""Gallery of the worst errors, from report.json's `failures`."""

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from avdfd.report.frame import download

_NOTE = (
    "The clips of each class that rank furthest among the other class: a fake by the fraction of real clips that score "
    "higher, a real clip by the fraction of fakes that score lower. The frames are the first, middle and last of the "
    "most wrong window."
)
_COLUMNS = ("clip", "tier", "label", "score", "wrong", "key", "start")


def gallery_html(result: Mapping[str, Any]) -> str:
    """Return heading and cards; empty for a report without them."""
    failures = result.get("failures")
    if failures is None:
        return ""
    if not failures["worst"]:
        return "<h2>Worst errors</h2><p>No fake scores below a real clip.</p>"
    run = None if result["kind"] == "scores" else result["runs"][0]["folder"]
    cards = "".join(_card(one, run, failures["videos"]) for one in failures["worst"])
    more = " The command draws the scores and evidence over time." if run is not None else ""
    more += "" if failures["videos"] else " With --videos ROOT, clips are linked."
    rows = [_COLUMNS, *([one[name] for name in _COLUMNS] for one in failures["worst"])]
    return (
        f"<h2>Worst errors</h2><div class='figures gallery'>{cards}</div>"
        f"<p class=note>{_NOTE}{more} {download('failures', rows)}</p>"
    )


def _card(one: Mapping[str, Any], run: str | None, videos: str | None) -> str:
    kind, others = ("fake", "real clips score higher") if one["label"] else ("real", "fakes score lower")
    scores = ", ".join(f"{escape(name)} {score:.3f}" for name, score in one["scores"].items())
    path = Path(videos or "", one["clip"])
    name = escape(one["clip"])
    link = f"<a href='{escape(path.resolve().as_uri())}'>{name}</a>" if videos else name
    image = f"<img alt='{name}' src='data:image/jpeg;base64,{one['picture']}'>" if one["picture"] else ""
    command = ""
    if run is not None:
        words = (".venv/bin/python", "detect.py", "--run", run, str(path), "--plot", f"{PurePosixPath(path).stem}.png")
        command = f"<code>{escape(shlex.join(words))}</code>"
    return (
        f"<figure>{image}<figcaption><strong>{escape(one['tier'])}, {kind}: P(fake) {one['score']:.3f}</strong>, "
        f"{one['wrong']:.0%} of the {others}.<br>{scores}<br>{link}, window from {one['start']:.1f} s"
        f"{command}</figcaption></figure>"
    )
