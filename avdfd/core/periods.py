"""Fake periods: when the audio or the video of a clip is fake, and how much of a window that is.

A period is a start and an end in seconds of the clip. Tables and stores hold the periods of a modality as text, a JSON
list as [[0.5, 1.25], [2, 2.5]]; an empty text states none, and the tier then describes the whole clip.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from avdfd.core.errors import UserError
from avdfd.core.text import parse_json

_LATEST = 1e9
"""Largest time in seconds: numbers of hundreds of digits are JSON, too."""

Periods = tuple[tuple[float, float], ...]


class WindowLabel(NamedTuple):
    """The fake seconds of a window, by modality."""

    audio: float
    video: float

    @property
    def modalities(self) -> tuple[int, int]:
        """Labels of the window's audio and video, 1 = fake: a modality is fake if any part of it in the window is."""
        return int(self.audio > 0), int(self.video > 0)

    @property
    def label(self) -> int:
        """Label of the window, 1 = fake: its audio, its video, or both are."""
        return int(self.audio > 0 or self.video > 0)


def merged(periods: Iterable[Sequence[float]]) -> Periods:
    """Return periods in the order of their starts, overlapping ones joined. Periods that only touch stay separate."""
    found: list[tuple[float, float]] = []
    for start, end in sorted((float(start), float(end)) for start, end in periods):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def overlap(periods: Periods, start: float, end: float) -> float:
    """Return the seconds of merged periods that lie between `start` and `end`."""
    return sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop in periods)


def as_text(periods: Iterable[Sequence[float]]) -> str:
    """Return periods as text; empty for none."""
    return json.dumps([[*period] for period in merged(periods)]) if periods else ""


@functools.lru_cache(maxsize=2**16)
def from_text(text: str) -> Periods:
    """Inverse of `as_text`. Raises UserError for another text."""
    if not text:
        return ()
    try:
        return check(parse_json(text))
    except ValueError as error:
        raise UserError(f"'{text[:200]}' are no fake periods ({error}); write [[start, end], ...] in seconds") from None


def check(listed: Any) -> Periods:
    """Return periods of a data set's table, merged. Raises ValueError, which names the first that is not a period."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ValueError(f"{json.dumps(listed)} is not a list of periods")
    for period in listed:
        numbers = isinstance(period, Sequence) and not isinstance(period, str) and [*map(_is_time, period)]
        if numbers != [True, True] or period[0] > period[1]:
            raise ValueError(f"{json.dumps(period)} is not a period")
    return merged(listed)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LATEST
