"""The verdict on a file as text."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from avdfd.inference.verdict import BRANCHES
from avdfd.metrics.domain import OVERALL


def verdict_line(line: dict[str, Any], width: int) -> str:
    """Return a verdict as one aligned line of text."""
    if line["error"] is not None:
        return f"{line['file']:<{width}}  error: {line['error']}"
    text = f"{line['file']:<{width}}  {line['verdict']}  {line['score']:.3f}"
    text += "" if line["calibrated"] else "  (not calibrated)"
    text += "".join(f"  {name} {line[f'{name}_score']:.3f}" for name in BRANCHES if line[f"{name}_score"] is not None)
    weights = [line[f"weight_{name}"] for name in BRANCHES if line[f"weight_{name}"] is not None]
    if weights:
        text += f"  weights {' / '.join(f'{weight:.2f}' for weight in weights)}"
    if line["domain"] is not None:
        text += f"  distance {line['domain'][OVERALL]['distance']:.2f}"
    if line["lag_ms"] is not None:
        text += f"  lag {line['lag_ms']:+.0f} ms"
    first, last, count = line["windows"][0]["start"], line["windows"][-1]["end"], len(line["windows"])
    if line["basis"] == "audio alone":
        text += "  (audio alone)"
    if line["short"]:
        text += "  (short: true)"
    reasons = Counter(window["reason"] for window in line["left_out"])
    left_out = [f"{number} window{'s' * (number > 1)} left out: {reason}" for reason, number in reasons.items()]
    text += "".join(f"  ({note})" for note in [*line["notes"], *left_out])
    if len(line["faces"]) == 1:
        text += f"  face {face_place(line['faces'][0])}"
    text += f"  {count} window{'s' if count > 1 else ''}, {first:.1f} to {last:.1f} s"
    return text + "".join(f"\n{' ' * width}  {face_line(face)}" for face in line["faces"] if len(line["faces"]) > 1)


def face_line(face: Mapping[str, Any]) -> str:
    """Return one of several faces as text."""
    counts = f"windows {face['windows']}, speaks in {face['speaks']}"
    return f"face {face['number']}  {face['verdict']}  {face['score']:.3f}  {face_place(face)}  {counts}"


def face_place(face: Mapping[str, Any]) -> str:
    """Return where a face is, in pixels from the left and from the top, and when."""
    return f"{face['width']}x{face['height']} at {face['left']}, {face['top']}, {face['time']:.1f} s"
