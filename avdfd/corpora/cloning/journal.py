"""Records of what is done, one JSON line each, on disk as soon as they are added."""

import json
import os
from pathlib import Path
from typing import Any

from avdfd.core.files import write_atomic

Record = dict[str, Any]


class Journal:
    """Records by their `source`. What an interruption left half written at the end counts as not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = read_journal(path)
        self.settle()

    def add(self, record: Record) -> None:
        """Adds a record, or replaces that of its source. Raises OSError that names the file."""
        with self.path.open("ab") as file:
            try:
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:  # what a full disk says has no name in it
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.records[record["source"]] = record

    def settle(self) -> None:
        """Writes the file anew: a line for each source, in their order, whatever the order of the work was."""
        write_atomic(self.path, b"".join(_line(self.records[source]) for source in sorted(self.records)))


def read_journal(path: Path) -> dict[str, Record]:
    """The records of a file by their source, the last of each; none if there is no such file."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {record["source"]: record for record in map(json.loads, lines)}


def _line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
