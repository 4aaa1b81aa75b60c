"""Replacement for `run_killable` without worker processes, which take seconds to start."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from avdfd.core.errors import MediaError
from avdfd.core.workers import Failure


def run_in_process(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int,
    time_limit: float,
    ahead: int | None = None,
    started: Callable[[Any, Any], None] = lambda function, item: None,
) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result or Failure) in the order of the items; call `started` with function and item before each."""
    for item in items:
        started(function, item)
        try:
            yield item, function(item)
        except MediaError as error:
            yield item, Failure(str(error))
