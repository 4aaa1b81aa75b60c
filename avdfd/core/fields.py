"""Functions on NamedTuples of tensors, such as batches and rows; fields may be nested NamedTuples or None."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T", bound=tuple)


def map_tensors(batch: T, how: Callable[[Tensor], Any]) -> T:
    """Apply a function to every tensor; None stays None."""
    return combine([batch], lambda tensors: how(tensors[0]))


def combine(batches: Sequence[T], how: Callable[[tuple[Tensor, ...]], Any]) -> T:
    """Combine NamedTuples of one type field by field: `how` gets the tensors of one field; None stays None."""

    made: Any = (_combine(values, how) for values in zip(*batches, strict=True))
    return type(batches[0])(*made)


def _combine(values: tuple[Any, ...], how: Callable[[tuple[Tensor, ...]], Any]) -> Any:
    if values[0] is None:
        return None
    return combine(values, how) if isinstance(values[0], tuple) else how(values)
