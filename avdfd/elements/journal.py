"""The records of one part of a store, by source, kept on disk: a line of JSON each.

A later line replaces an earlier one of the same source, and one that ends in "gone" takes it out. A last line without
its end is of a run that was interrupted, and does not count. In memory is only where the lines are.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic

_START = b'{"clip":{"source":'
_GONE = b'"gone":true}\n'
_decode_string = json.JSONDecoder().raw_decode


class Journal(Mapping[str, dict[str, Any]]):
    """Source -> record, in order of the sources. Opening finds the lines; a record is read when it is asked for.

    No file is no records. As a context manager it closes itself. Raises UserError for a damaged file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        """Source -> start and length of its line."""
        self.whole = 0
        """Bytes that are whole lines."""
        self._in_order = True
        """Whether the lines are just the records, in order."""
        self._file = path.open("rb") if path.exists() else None
        for number, line in enumerate(self._file or (), 1):
            if line.endswith(b"\n"):
                self._take(_source_of(line, f"{path}: line {number}"), line)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def __contains__(self, source: object) -> bool:
        return source in self._places

    def __getitem__(self, source: str) -> dict[str, Any]:
        line = self._line(source)
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise UserError(
                f"{self.path}: the line of {source} is damaged; delete the store and make it anew"
            ) from None

    def forget(self, source: str) -> None:
        """Takes a record out of what is known, not out of the file: for one whose data is lost."""
        del self._places[source]
        self._in_order = False

    def follow(self, line: bytes) -> None:
        """Takes up a line that was just appended to the file."""
        self._take(_source_of(line, str(self.path)), line)

    def compact(self) -> None:
        """Writes the file anew, as just the records in order, if it is anything else."""
        if not self._in_order:
            write_atomic(self.path, (self._line(source) for source in self))

    def _take(self, source: str, line: bytes) -> None:
        if line.endswith(_GONE):
            self._places.pop(source, None)
            self._in_order = False
        else:
            last = next(reversed(self._places), "")
            self._in_order = self._in_order and last < source
            self._places[source] = (self.whole, len(line))
        self.whole += len(line)

    def _line(self, source: str) -> bytes:
        start, length = self._places[source]
        assert self._file is not None, "what has records has a file"
        return os.pread(self._file.fileno(), length, start)


def encode_record(clip: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> bytes:
    """The line of a record; the source comes first, so that it is found without reading all of the line."""
    ordered = {"source": clip["source"], **clip}
    return _encode({"clip": ordered, "windows": list(windows), **facts})


def encode_gone(source: str) -> bytes:
    """The line that takes a record out."""
    return _encode({"clip": {"source": source}, "gone": True})


def _encode(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _source_of(line: bytes, place: str) -> str:
    try:
        if not line.startswith(_START):
            raise ValueError
        source, _ = _decode_string(line[len(_START) : len(_START) + 8192].decode(errors="replace"))
    except ValueError:
        raise UserError(f"{place} is damaged; delete the store and make it anew") from None
    return source
