"""Index of a store: the journals of all parts as columns, built without reading the shards."""

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS
from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file, locked
from avdfd.core.journal import Journal
from avdfd.elements.form import MEMBERS
from avdfd.elements.layout import INDEX, INDEX_LOCK, journal_name, lock_name, longest_of, parts_of, read_settings
from avdfd.elements.table import SCHEMA, ElementTable, schema_of

_BATCH = 20_000  # maximum number of rows that are Python objects at the same time


def read_table(root: Path) -> ElementTable:
    """Return the metadata of all elements from the index or, if there is none, from the journals.

    Raises UserError if the folder is not a store.
    """
    version = read_settings(root)["version"]
    if (root / INDEX).exists():
        return ElementTable.load(root / INDEX)
    return ElementTable(_build(root), version)


def merge(root: Path) -> bool:
    """Write the index and return True, or return False if another run is writing to a part of the store.

    The run that ends last then writes it. A writer deletes the index first, so that it is never out of date.
    """
    with index_lock(root):
        for part in parts_of(root):
            try:
                with locked(root / lock_name(part.number), root):
                    pass
            except UserError:
                return False
        table = _build(root)
        table = table.replace_schema_metadata({"version": read_settings(root)["version"]})
        with atomic_file(root / INDEX) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, len(table)))  # ElementTable expects one chunk per column
        return True


def index_lock(root: Path) -> contextlib.AbstractContextManager[int]:
    """Return a lock on the index, held as a context manager; entering waits until it is free."""
    return locked(root / INDEX_LOCK, root, wait=True)


def pack_sizes(sizes: list[int]) -> str:
    """Return frame sizes as base64 for a journal, which reads much faster than a list of numbers."""
    return base64.b64encode(np.array(sizes, "<u4").tobytes()).decode()


def _build(root: Path) -> pa.Table:
    longest = longest_of(read_settings(root)["settings"])
    batches = [*_batches(root, longest)] or [_batch([], longest)]
    return pa.Table.from_batches(batches).unify_dictionaries().sort_by("key").combine_chunks()


def _batches(root: Path, longest: int) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    for part in parts_of(root):
        with Journal(root / journal_name(part.number)) as journal:
            for record in journal.values():
                rows += _rows(record, part.number, longest)
                if len(rows) >= _BATCH:
                    yield _batch(rows, longest)
                    rows = []
    if rows:
        yield _batch(rows, longest)


def _rows(record: dict[str, Any], part: int, longest: int) -> Iterator[tuple[Any, ...]]:
    clip = {**record["clip"], "identities": json.dumps(record["clip"]["identities"], ensure_ascii=False)}
    text = [clip[name] if name in clip else CLIP_DEFAULTS[name] for name in CLIP_FIELDS]
    for window in record["windows"]:
        first, *offsets, last = window["at"]
        sizes = base64.b64decode(window["sizes"])
        yield (
            *(window["key"], *text, window["start"], window["end"]),
            *(part, window["shard"], first, *offsets, last),
            sizes.ljust(4 * longest, b"\0"),
        )


def _batch(rows: list[tuple[Any, ...]], longest: int) -> pa.RecordBatch:
    schema = schema_of(longest)
    columns = [*zip(*rows, strict=True)] or [()] * len(schema)
    *plain, sizes = columns
    arrays = [
        pa.array(column, pa.string()).dictionary_encode() if field.name in CLIP_FIELDS else pa.array(column, field.type)
        for column, field in zip(plain, schema, strict=False)
    ]
    numbers = pa.array(np.frombuffer(b"".join(sizes), "<u4"))
    return pa.RecordBatch.from_arrays([*arrays, pa.FixedSizeListArray.from_arrays(numbers, longest)], schema=schema)


assert SCHEMA.names[-len(MEMBERS) - 2 : -2] == [*MEMBERS], "a journal has offsets in the order of MEMBERS"
