"""NamedTuples of tensors, of which some may be None: batches, rows, outputs."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T", bound=tuple)


def change(batch: T, how: Callable[[Tensor], Any]) -> T:
    """The same with a change made to each tensor; what is None stays None."""
    made: Any = (None if x is None else how(x) for x in batch)
    return type(batch)(*made)
