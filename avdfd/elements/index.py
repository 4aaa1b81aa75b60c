"""Index of a store: the journals of all parts as columns, built without reading the shards."""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avdfd.core.checksums import file_checksum
from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS
from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file, is_locked, locked
from avdfd.core.journal import Journal
from avdfd.elements.form import LANDMARKS, MEMBERS
from avdfd.elements.layout import (
    FILES,
    INDEX,
    INDEX_LOCK,
    STORE,
    check_size,
    journal_name,
    lock_name,
    longest_of,
    note_files,
    parts_of,
    read_settings,
)
from avdfd.elements.table import FIRST_FRAME, SCHEMA, ElementTable, schema_of

_BATCH = 20_000  # maximum number of rows that are Python objects at the same time


def read_table(root: Path) -> ElementTable:
    """Return the metadata of all elements from the index or, if there is none, from the journals.

    Raises UserError if the folder is not a store, is damaged or was copied in part.
    """
    about = read_settings(root)
    noted = about.get(FILES, {})
    for name in noted.keys() - {INDEX}:
        check_size(root / name, noted[name][0])
    if (root / INDEX).exists():
        check_note(root / INDEX, noted)
        return ElementTable.load(root / INDEX)
    for name in sorted(noted.keys() - {INDEX}):
        check_note(root / name, noted)
    return ElementTable(_build(root), about.get("version", ""))


def is_as_noted(path: Path, noted: Mapping[str, Sequence[int]]) -> bool:
    """Return False if the index or a journal has another size or checksum than store.json notes."""
    return path.name not in noted or [path.stat().st_size, file_checksum(path)] == [*noted[path.name]]


def check_note(path: Path, noted: Mapping[str, Sequence[int]]) -> None:
    """Check the size and the checksum of the index or a journal against store.json. Raises UserError if they differ."""
    if not is_as_noted(path, noted):
        remedy = "delete it, readers then use the journals; data/preprocess.py makes it again"
        if path.name != INDEX:
            remedy = "copy it again, or run data/preprocess.py again to repair it"
        raise UserError(f"{path}: damaged, its checksum differs from {STORE}; {remedy}")


def merge(root: Path) -> bool:
    """Write the index and return True, or return False if another run is writing to a part of the store.

    The run that ends last then writes it. A writer deletes the index first, so that it is never out of date.
    """
    with index_lock(root):
        if any(is_locked(root / lock_name(part.number)) for part in parts_of(root)):
            return False
        table = _build(root)
        table = table.replace_schema_metadata({"version": read_settings(root)["version"]})
        with atomic_file(root / INDEX) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, len(table)))  # ElementTable expects one chunk per column
        journals = [root / journal_name(part.number) for part in parts_of(root)]
        files = [path for path in (root / INDEX, *journals) if path.exists()]
        note_files(root, {path.name: [path.stat().st_size, file_checksum(path)] for path in files})
        return True


def index_lock(root: Path) -> contextlib.AbstractContextManager[int]:
    """Return a lock on the index, held as a context manager; entering waits until it is free."""
    return locked(root / INDEX_LOCK, root, wait=True)


def forget_index(root: Path) -> None:
    """Delete the index and what store.json notes about it, as a part is about to change."""
    with index_lock(root):
        note_files(root, None)
        (root / INDEX).unlink(missing_ok=True)


def pack_numbers(numbers: Sequence[int]) -> str:
    """Return sizes or checksums as base64 for a journal, which reads much faster than a list of numbers."""
    return base64.b64encode(np.array(numbers, "<u4").tobytes()).decode()


def unpack_numbers(text: str) -> np.ndarray:
    """Inverse of `pack_numbers`."""
    return np.frombuffer(base64.b64decode(text), "<u4")


def _build(root: Path) -> pa.Table:
    longest = longest_of(read_settings(root)["settings"])
    batches = [*_batches(root, longest)] or [_batch([], longest)]
    return pa.Table.from_batches(batches).unify_dictionaries().sort_by("key").combine_chunks()


def _batches(root: Path, longest: int) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    for part in parts_of(root):
        with Journal(root / journal_name(part.number)) as journal:
            for record in journal.values():
                try:
                    rows += _rows(record, part.number, longest)
                except (KeyError, TypeError, ValueError):
                    raise UserError(f"{journal.path}: not the journal of a store; delete the store") from None
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
        sizes, sums = (base64.b64decode(window.get(name, "")) for name in ("sizes", "sums"))
        yield (
            *(window["key"], *text, window["start"], window["end"]),
            *(part, window["shard"], first, *offsets, last),
            *window.get(LANDMARKS, (-1, 0)),
            sizes.ljust(4 * longest, b"\0"),
            sums.ljust(4 * (FIRST_FRAME + longest), b"\0"),
        )


def _batch(rows: list[tuple[Any, ...]], longest: int) -> pa.RecordBatch:
    schema = schema_of(longest)
    columns = [*zip(*rows, strict=True)] or [()] * len(schema)
    *plain, sizes, sums = columns
    arrays = [
        pa.array(column, pa.string()).dictionary_encode() if field.name in CLIP_FIELDS else pa.array(column, field.type)
        for column, field in zip(plain, schema, strict=False)
    ]
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.frombuffer(b"".join(column), "<u4")), length)
        for column, length in ((sizes, longest), (sums, FIRST_FRAME + longest))
    ]
    return pa.RecordBatch.from_arrays([*arrays, *lists], schema=schema)


assert SCHEMA.names[-len(MEMBERS) - 5 : -5] == [*MEMBERS], "a journal has offsets in the order of MEMBERS"
