"""Metadata of many elements as columns: an Arrow file that all processes map into the same memory.

A million elements open at once, as nothing is read before it is used. What has to look at all of them works with
codes: a field of every element as a number, and the few values that the numbers stand for.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa

from avdfd.core import tiers
from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS
from avdfd.core.errors import UserError
from avdfd.elements.form import MEMBERS, ElementMeta
from avdfd.features.mel import FRAMES

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in CLIP_FIELDS),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("part", pa.int32()),
        ("shard", pa.int32()),
        ("first", pa.int64()),
        *((suffix, pa.int64()) for suffix in MEMBERS),
        ("last", pa.int64()),
        ("sizes", pa.list_(pa.uint32(), FRAMES)),
    ]
)
"""A row per element in order of the keys. `first` to `last` are its bytes in a shard, a suffix has where the data of
that member begins, -1 if it has none; `sizes` are bytes of the frames. The facts about the clip are dictionary-encoded
strings; identities are a JSON list."""


class Coded(NamedTuple):
    """A field of N elements: `values[codes[i]]`. There may be values that no element has."""

    codes: np.ndarray
    """(N,) whole numbers."""
    values: list[Any]


class ElementTable(Sequence[ElementMeta]):
    """Metadata of elements in order of their keys, or of some of them; a slice is a table too.

    It is sent to other processes by the name of its file, if it has one.
    """

    def __init__(self, table: pa.Table, version: str, rows: np.ndarray | None = None, path: Path | None = None) -> None:
        self._table, self.version, self._path = table, version, path
        self._columns = {name: table.column(name).chunk(0) for name in table.schema.names}
        self.rows = np.arange(table.num_rows) if rows is None else rows
        """(N,) positions in the store."""

    @classmethod
    def load(cls, path: Path, rows: np.ndarray | None = None) -> "ElementTable":
        """Maps a file into memory. Raises UserError if it is damaged."""
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid:
            raise UserError(f"{path}: damaged; delete it, data/preprocess.py makes it anew from the journals") from None
        table = _with_defaults(table)
        if table.schema.names != SCHEMA.names:
            raise UserError(f"{path}: of another version; delete it, data/preprocess.py makes it anew")
        return cls(table, table.schema.metadata[b"version"].decode(), rows, path)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, position: int) -> ElementMeta: ...
    @overload
    def __getitem__(self, position: slice) -> "ElementTable": ...
    def __getitem__(self, position: int | slice) -> "ElementMeta | ElementTable":
        if isinstance(position, slice):
            return self.take(np.arange(len(self))[position])
        return self._meta(int(self.rows[position]))

    def __iter__(self) -> Iterator[ElementMeta]:
        return (self._meta(row) for row in self.rows.tolist())

    def __reduce__(self) -> tuple[Any, ...]:
        whole = len(self.rows) == self._table.num_rows
        if self._path is not None:
            return ElementTable.load, (self._path, None if whole else self.rows)
        return ElementTable, (self._table, self.version, self.rows)

    def take(self, positions: np.ndarray | Sequence[int]) -> "ElementTable":
        """The elements at these positions, in that order."""
        return ElementTable(self._table, self.version, self.rows[np.asarray(positions, np.int64)], self._path)

    def coded(self, name: str) -> Coded:
        """Return a fact about the clip of every element: one of CLIP_FIELDS, or label."""
        column = self._columns["tier" if name == "label" else name]
        codes, values = column.indices.to_numpy(zero_copy_only=True)[self.rows], column.dictionary.to_pylist()
        if name == "label":
            values = [tiers.tier(value).label for value in values]
        elif name == "identities":
            values = [tuple(json.loads(value)) for value in values]
        return Coded(codes, values)

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers for all rows of the store: (M,), `sizes` (M, 77). It is not copied."""
        column = self._columns[name]
        if name == "sizes":
            return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, FRAMES)
        return column.to_numpy(zero_copy_only=True)

    def digest(self) -> str:
        """sha256 of what all rows of the store are made of, in their order: keys, files, preprocessing."""
        keys, files = (self._columns[name].to_pylist() for name in ("key", "sha256"))
        return hashlib.sha256("\0".join([self.version, *keys, *files]).encode()).hexdigest()

    def find(self, key: str) -> int:
        """The row of a key in the store. Raises KeyError."""
        keys = self._columns["key"]
        low, high = 0, len(keys)
        while low < high:
            middle = (low + high) // 2
            if keys[middle].as_py() < key:
                low = middle + 1
            else:
                high = middle
        if low == len(keys) or keys[low].as_py() != key:
            raise KeyError(key)
        return low

    def _meta(self, row: int) -> ElementMeta:
        facts = {name: self._columns[name][row].as_py() for name in CLIP_FIELDS}
        facts["identities"] = tuple(json.loads(facts["identities"]))
        place = {name: self._columns[name][row].as_py() for name in ("key", "start", "end")}
        return ElementMeta(**facts, **place, version=self.version)


def _with_defaults(table: pa.Table) -> pa.Table:
    """Return the table with the default of every fact that its store did not know yet."""
    absent = {name: value for name, value in CLIP_DEFAULTS.items() if name not in table.schema.names}
    for name, value in absent.items():
        codes = pa.array(np.zeros(len(table), np.int32))
        table = table.append_column(SCHEMA.field(name), pa.DictionaryArray.from_arrays(codes, [value]))
    return table.select(SCHEMA.names) if absent and {*table.schema.names} == {*SCHEMA.names} else table


def coded(metas: Sequence[ElementMeta], name: str) -> Coded:
    """A field of every element as numbers, whether they are a table or a list."""
    if isinstance(metas, ElementTable):
        return metas.coded(name)
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(getattr(meta, name), len(numbers)) for meta in metas]
    return Coded(np.array(codes, np.int64), list(numbers))
