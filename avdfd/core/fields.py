"""NamedTuples of tensors, nested or with None in places: batches, rows, outputs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T", bound=tuple)


def change(batch: T, how: Callable[[Tensor], Any]) -> T:
    """Apply a function to every tensor; None stays None."""
    return join([batch], lambda tensors: how(tensors[0]))


def join(batches: Sequence[T], how: Callable[[tuple[Tensor, ...]], Any]) -> T:
    """Make one NamedTuple of several alike, each of its tensors from those in the same place; None stays None."""
    made: Any = (_join(values, how) for values in zip(*batches, strict=True))
    return type(batches[0])(*made)


def _join(values: tuple[Any, ...], how: Callable[[tuple[Tensor, ...]], Any]) -> Any:
    if values[0] is None:
        return None
    return join(values, how) if isinstance(values[0], tuple) else how(values)
