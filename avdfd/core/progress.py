"""Progress of a script's main loop on stderr: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS = 30.0
"""Time between lines in a log."""


def progress(
    items: Iterable[T], *, total: int, title: str, unit: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """Yield the items. On a terminal a bar is drawn; elsewhere a line is printed every 30 s, none for a short loop."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=title, unit=unit)
        return
    due = clock() + SECONDS
    for number, item in enumerate(items, 1):
        yield item
        if clock() >= due:
            sys.stderr.write(f"{title}: {number} of {total} {unit}s\n")
            sys.stderr.flush()
            due = clock() + SECONDS
