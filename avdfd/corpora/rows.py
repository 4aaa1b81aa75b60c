"""Rows of a table in CSV, JSON, Parquet or Arrow, of which the wanted columns are read; an error names the column."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avdfd.core.errors import UserError
from avdfd.core.text import columns_of, parse_json, read_csv, read_json, read_text

_JSON = (".json", ".jsonl")


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of every row, for messages, and its cells in some columns.

    Cells of a CSV file are texts; those of Parquet (.parquet), of an Arrow stream (.arrow) and of JSON are what they
    hold, None for null and for NaN, which pandas writes for a cell without content. JSON is a list of objects (.json),
    or one object per line (.jsonl), whose keys are the columns; an object without a key has null there. An optional
    column that the table does not have is not among the cells.
    Raises UserError for a file that cannot be read, and for a column that it does not have.
    """
    if path.suffix.lower() in _JSON:
        objects = _objects(path)
        wanted = _wanted(path, _keys(objects), columns, optional)
        for number, row in enumerate(objects):
            yield f"{path}: entry {number}", {name: _or_none(row.get(name)) for name in wanted}
        return
    if path.suffix.lower() not in (".parquet", ".arrow"):
        table = read_csv(path)
        wanted = _wanted(path, table.columns, columns, optional)
        for line, row in table.rows:
            yield f"{path}: line {line}", {name: row[name] for name in wanted}
        return
    try:
        if path.suffix.lower() == ".parquet":
            wanted = _wanted(path, pq.read_schema(path).names, columns, optional)
            found = pq.read_table(path, columns=wanted)
        else:
            found = pa.ipc.open_stream(path.read_bytes()).read_all()
            wanted = _wanted(path, found.column_names, columns, optional)
        rows = found.select(wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); get it again") from None
    for number, row in enumerate(rows):
        yield f"{path}: row {number}", {name: _or_none(cell) for name, cell in row.items()}


def columns_in(path: Path) -> list[str]:
    """Return the columns of a table that `read_rows` reads. Raises UserError for a file that cannot be read."""
    try:
        if path.suffix.lower() in _JSON:
            return _keys(_objects(path))
        if path.suffix.lower() == ".parquet":
            return pq.read_schema(path).names
        if path.suffix.lower() == ".arrow":
            return pa.ipc.open_stream(path.read_bytes()).schema.names
        return columns_of(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); get it again") from None


def _objects(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON table. Raises UserError if it is no such table."""
    if path.suffix.lower() == ".json":
        found = read_json(path)
    else:
        found = []
        for number, line in enumerate(read_text(path, "JSON").splitlines(), start=1):
            try:
                found += [parse_json(line)] if line.strip() else []
            except ValueError as error:
                raise UserError(f"{path}: line {number}: cannot be read as JSON ({error}); get it again") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UserError(f"{path}: expected a list of objects, one per row")
    return found


def _or_none(cell: Any) -> Any:
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _keys(objects: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys of objects, each once, in the order in which they come."""
    return [*dict.fromkeys(key for row in objects for key in row)]


def _wanted(path: Path, names: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return the columns to read, each once. Raises UserError for one that the table does not have."""
    for name in columns:
        if name not in names:
            raise UserError(f"{path}: has no column '{name}'; its columns are {', '.join(names)}")
    return list(dict.fromkeys([*columns, *(name for name in optional if name in names)]))
