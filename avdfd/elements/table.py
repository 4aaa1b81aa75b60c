"""Metadata of many elements as columns of an Arrow file, memory-mapped and shared by all processes.

Opening a million elements takes no time, as columns are loaded lazily. Code that needs a field of all elements works
with codes: one number per element, and the few values that the numbers stand for.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa

from avdfd.core import tiers
from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS, PERIOD_FIELDS
from avdfd.core.errors import UserError
from avdfd.core.periods import from_text
from avdfd.elements.form import LANDMARK_BYTES, LANDMARKS, MEMBERS, ElementMeta
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE

FIRST_FRAME = 1 + len(MEMBERS)
"""Position of the first frame's checksum among those of an element."""
LANDMARKS_SUM = "landmarks_sum"
"""Column of the checksum of the landmarks."""


def schema_of(longest: int) -> pa.Schema:
    """Return the columns of an index of elements with up to `longest` frames.

    One row per element, in the order of the keys. The facts about the clip are dictionary-encoded strings; identities
    are a JSON list. `first` to `last` are byte offsets in a shard; the column of a suffix is the offset of that
    member's data, -1 if there is no such member. `sizes` are the sizes of the frames in bytes, 0 for those that a
    shorter element does not have. `sums` are checksums (avdfd/core/checksums.py), 0 for none: of all bytes of the
    element from `first` to `last`, of the data of each member, and from FIRST_FRAME on of each frame. That of the
    landmarks has a column of its own.
    """
    return pa.schema(
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
            (LANDMARKS, pa.int64()),
            (LANDMARKS_SUM, pa.uint32()),
            ("sizes", pa.list_(pa.uint32(), longest)),
            ("sums", pa.list_(pa.uint32(), FIRST_FRAME + longest)),
        ]
    )


SCHEMA = schema_of(FRAMES)
"""Columns of an index of windows."""


class Coded(NamedTuple):
    """Field of N elements: that of element i is `values[codes[i]]`. Some values may have no element."""

    codes: np.ndarray
    """(N,) integers."""
    values: list[Any]


class ElementTable(Sequence[ElementMeta]):
    """Metadata of the elements of a store, by key, or of a selection; a slice is a table, too.

    Pickling a table that has a file stores the file's path alone.
    """

    def __init__(self, table: pa.Table, version: str, rows: np.ndarray | None = None, path: Path | None = None) -> None:
        self._table, self.version, self._path = table, version, path
        self._columns = {name: table.column(name).chunk(0) for name in table.schema.names}
        self.rows = np.arange(table.num_rows) if rows is None else rows
        """(N,) positions in the store."""

    @classmethod
    def load(cls, path: Path, rows: np.ndarray | None = None) -> "ElementTable":
        """Memory-map a file. Raises UserError if it is damaged or of another version."""
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate(full=True)  # otherwise reading a crafted column leaves its memory
            table = _with_defaults(table)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            raise UserError(f"{path}: damaged; delete it, data/preprocess.py makes it from the journals") from None
        longest = _longest(table)
        version = (table.schema.metadata or {}).get(b"version")
        if longest is None or table.schema != schema_of(longest) or version is None:
            raise UserError(f"{path}: of another version; delete it, data/preprocess.py makes it again")
        if not _are_places(table):
            raise UserError(f"{path}: not a valid index; delete it, data/preprocess.py makes it from the journals")
        return cls(table, version.decode(errors="replace"), rows, path)

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
        """Return the elements at these positions, in this order."""
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
        """Return a numeric column for all rows of the store, without a copy: (M,), `sizes` (M, 77) for windows."""
        column = self._columns[name]
        if name in ("sizes", "sums"):
            return column.flatten().to_numpy(zero_copy_only=True).reshape(-1, column.type.list_size)
        return column.to_numpy(zero_copy_only=True)

    def digest(self) -> str:
        """Return the sha256 of the preprocessing version and all keys and file hashes of the store, in order."""
        keys, files = (self._columns[name].to_pylist() for name in ("key", "sha256"))
        return hashlib.sha256("\0".join([self.version, *keys, *files]).encode()).hexdigest()

    def find(self, key: str) -> int:
        """Return the row of a key in the store, by binary search. Raises KeyError."""
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

    def value(self, name: str, row: int) -> str:
        """Return a text column's value in a row of the store: the key, or a fact about the clip."""
        return self._columns[name][row].as_py()

    def _meta(self, row: int) -> ElementMeta:
        facts = {name: self._columns[name][row].as_py() for name in CLIP_FIELDS}
        facts["identities"] = tuple(json.loads(facts["identities"]))
        place = {name: self._columns[name][row].as_py() for name in ("key", "start", "end")}
        return ElementMeta(**facts, **place, version=self.version)


def _with_defaults(table: pa.Table) -> pa.Table:
    """Return the table with the default of every fact and checksum that the file lacks."""
    absent = {name: value for name, value in CLIP_DEFAULTS.items() if name not in table.schema.names}
    longest = _longest(table)
    if "sums" not in table.schema.names and longest is not None:
        none = pa.array(np.zeros(len(table) * (FIRST_FRAME + longest), np.uint32))
        sums = pa.FixedSizeListArray.from_arrays(none, FIRST_FRAME + longest)
        table = table.append_column(schema_of(longest).field("sums"), sums)
    for name, value in absent.items():
        codes = pa.array(np.zeros(len(table), np.int32))
        table = table.append_column(SCHEMA.field(name), pa.DictionaryArray.from_arrays(codes, [value]))
    older = not {LANDMARKS, LANDMARKS_SUM} & {*table.schema.names}
    if older:
        table = table.append_column(SCHEMA.field(LANDMARKS), pa.array(np.full(len(table), -1)))
        table = table.append_column(SCHEMA.field(LANDMARKS_SUM), pa.array(np.zeros(len(table), np.uint32)))
    return table.select(SCHEMA.names) if (absent or older) and {*table.schema.names} == {*SCHEMA.names} else table


def _longest(table: pa.Table) -> int | None:
    """Return the largest number of frames of an element, None if the table does not state it."""
    kind = table.schema.field("sizes").type if table.schema.names.count("sizes") == 1 else None
    return kind.list_size if kind is not None and pa.types.is_fixed_size_list(kind) and kind.list_size > 0 else None


def _are_places(table: pa.Table) -> bool:
    """Return True if all elements are places in shards: numbers in order, and all data of an element within it."""
    columns = [table.column(name) for name in table.schema.names]
    if any(column.num_chunks != 1 or column.null_count or _nulls_within(column.chunk(0)) for column in columns):
        return False
    start, end, part, shard, first, last = (
        table.column(name).to_numpy() for name in ("start", "end", "part", "shard", "first", "last")
    )
    longest = _longest(table) or 0
    frames = table.column("sizes").chunk(0).flatten().to_numpy().reshape(-1, longest).sum(axis=1, dtype=np.int64)
    seconds = end - start
    with np.errstate(invalid="ignore"):
        valid = (start >= 0) & (seconds > 0) & (seconds < (longest + 1) / FPS + 0.001) & (end < np.inf)
    valid &= (part >= 0) & (shard >= 0) & (first >= 0) & (first <= last) & (last < 1 << 60)
    wav = 2 * np.ceil(np.where(valid, seconds, 0) * SAMPLE_RATE).astype(np.int64) - 2
    moments = np.ceil(np.where(valid, seconds, 0) * FPS - 1e-3).astype(np.int64)
    sizes = {**MEMBERS, "wav": wav, "mjpeg": frames, LANDMARKS: moments * LANDMARK_BYTES}
    for suffix, needed in sizes.items():
        at = table.column(suffix).to_numpy()
        valid &= (at == -1) | ((at >= first) & (at <= last) & (at + needed <= last))
    return bool(valid.all())


def _nulls_within(array: pa.Array) -> bool:
    values = array.dictionary if pa.types.is_dictionary(array.type) else None
    values = array.flatten() if pa.types.is_fixed_size_list(array.type) else values
    return values is not None and values.null_count > 0


def times(metas: Sequence[ElementMeta]) -> np.ndarray:
    """Return start and end of N windows in seconds of their clips: (N, 2)."""
    if not isinstance(metas, ElementTable):
        return np.array([(meta.start, meta.end) for meta in metas], np.float64).reshape(-1, 2)
    return np.stack([metas.numbers(name)[metas.rows] for name in ("start", "end")], axis=1)


def fake_seconds(metas: Sequence[ElementMeta]) -> np.ndarray:
    """Return the labels of N windows: (N, 2), the seconds in which the audio and the video of each are fake.

    Raises UserError for damaged periods.
    """
    if not isinstance(metas, ElementTable):
        return np.array([meta.window for meta in metas], np.float64).reshape(-1, 2)
    start, end = times(metas).T
    tier = metas.coded("tier")
    modalities = np.array([tiers.tier(name).fake_modalities for name in tier.values], bool)[tier.codes]
    seconds = (end - start)[:, None] * modalities
    for modality, name in enumerate(PERIOD_FIELDS):
        codes, texts = metas.coded(name)
        stated = np.array([bool(text) for text in texts], bool)[codes] & modalities[:, modality]
        rows = np.flatnonzero(stated)
        if not len(rows):
            continue
        periods = [from_text(text) for text in texts]
        counts = np.array([len(of) for of in periods])
        flat = np.array([period for of in periods for period in of]).reshape(-1, 2)
        # Every period of an element's clip is a pair (element, period).
        pairs = counts[codes[rows]]
        element = np.repeat(rows, pairs)
        first = (np.cumsum(counts) - counts)[codes[rows]]
        period = flat[np.repeat(first - (np.cumsum(pairs) - pairs), pairs) + np.arange(pairs.sum())]
        inside = np.minimum(period[:, 1], end[element]) - np.maximum(period[:, 0], start[element])
        sums = np.bincount(element, np.maximum(inside, 0.0), minlength=len(seconds))
        seconds[rows, modality] = sums[rows]
    return seconds


def window_labels(metas: Sequence[ElementMeta]) -> np.ndarray:
    """Return the label of every window, 1 = fake: (N,)."""
    return np.any(fake_seconds(metas) > 0, axis=1).astype(np.int64)


def coded(metas: Sequence[ElementMeta], name: str) -> Coded:
    """Return a field of every element as codes; `metas` is a table or a list."""
    if isinstance(metas, ElementTable):
        return metas.coded(name)
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(getattr(meta, name), len(numbers)) for meta in metas]
    return Coded(np.array(codes, np.int64), list(numbers))
