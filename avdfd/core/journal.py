"""Outputs that survive a kill and can be resumed: the guard of their folder, and the records of what is done.

`claim` and `refuse_changes` guard a folder. `Journal` holds the records of one job, a JSON line each; `RecordFiles`
holds records that several jobs share, a JSON file each.
"""

import json
import os
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file, ensure_writable, naming, write_atomic

Record = dict[str, Any]

SETTINGS = "settings.json"
"""Name of the file with the settings, in folders of records."""

_SOURCE = re.compile(rb'\{(?:"clip": ?\{)?"source": ?')
_LONGEST_SOURCE = 8192  # bytes
_REMOVED = b'"gone":true}'
_SUM = "crc32"
_SUMMED = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n$')
_SUM_LENGTH = len(',"crc32":"01234567"}\n')
_decode_string = json.JSONDecoder().raw_decode


def claim(root: Path, note: Path, about: Mapping[str, Any], *, holds: str) -> dict[str, Any]:
    """Create the folder of an output, or open it, and return what its note says.

    The note is a JSON file with the settings; a new folder gets `about`. Several jobs may claim a folder at once.
    Raises UserError if the folder cannot be written to, or has files but no note: it `holds` something else.
    """
    ensure_writable(root)
    others = [path for path in root.iterdir() if not path.name.startswith(".") and path != note]
    if not note.exists():
        if others:
            raise UserError(f"{root}: holds other files and no {holds}; choose another output")
        with suppress(FileExistsError), atomic_file(note, replace=False) as file:
            file.write((json.dumps(about, indent=2) + "\n").encode())
    return _parse(note.read_bytes(), str(note))


def refuse_changes(
    root: Path, before: Mapping[str, Any], now: Mapping[str, Any], later: Mapping[str, str] | None = None
) -> None:
    """Raise UserError that names each setting that differs from those that a folder was made with.

    The setting `parts` is the number of shards that the job was split into. `later` has the settings that folders of
    earlier versions lack, and what false leaves out: such a folder is continued without it.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not changed:
        return
    values = [f"{key} was {json.dumps(before.get(key))} and is now {json.dumps(now.get(key))}" for key in changed]
    remedy = "choose another output, or delete this one"
    if changed == ["parts"]:
        parts = before.get("parts")
        remedy = f"use --shard i/{parts} (SHARDS={parts} for sbatch), {remedy}"
    for key, what in (later or {}).items():
        if changed == [key] and key not in before:
            remedy = f"to continue it without {what}, set --{key}=false; or {remedy}"
    raise UserError(f"{root}: made with other settings ({'; '.join(values)}): {remedy}")


def refuse_overlap(root: Path, source_root: Path) -> None:
    """Raise UserError if the output and the input are the same folder, or one contains the other."""
    here, there = root.resolve(), source_root.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UserError(f"{root}: lies within the input {source_root} or contains it; choose another output")


def vanished(root: Path, known: Collection[str], present: Collection[str], source_root: Path) -> list[str]:
    """Return the known sources that the input no longer has, sorted.

    Raises UserError if it has none of them: the output was made from another input.
    """
    gone = sorted(set(known) - set(present))
    if known and len(gone) == len(known):
        raise UserError(f"{root}: none of its clips is under the input {source_root}; choose another output")
    return gone


class AppendedFile:
    """A file that only grows from a known end. Opening it cuts off what lies beyond that end."""

    def __init__(self, path: Path, end: int) -> None:
        self.path, self.end = path, end
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.cut(end)

    def add(self, data: bytes, *, sync: bool = False) -> None:
        """Write at the end; `sync` waits until the disk has it. Raises OSError that names the file."""
        rest = memoryview(data)
        with naming(self.path):
            while rest:
                written = os.pwrite(self._file, rest, self.end)
                rest = rest[written:]
                self.end += written
            if sync:
                os.fsync(self._file)

    def cut(self, end: int) -> None:
        os.ftruncate(self._file, end)
        self.end = end

    def close(self) -> None:
        os.close(self._file)


class Journal(Mapping[str, Record]):
    """Source -> record, in order of the sources: JSON lines that are appended as the work is done.

    A record names its source first, at the top or in its `clip`. A later line replaces an earlier one of the same
    source; a line that ends in `"gone":true` removes it. A last line without its end is from a run that was killed,
    and does not count. Opening finds the lines; a record is parsed each time it is read. A missing file has no records.

    With `append`, records can be added, and opening creates the file or cuts off the torn line; with `sync`, adding
    waits until the disk has the record. Only one process may append. Raises UserError for a damaged file.

    With `sums`, lines that are added end with the CRC-32 of what is before it, which every reader checks. If such a
    journal is opened to append, damaged lines do not count, so that their work is done again; `damaged` lists them.
    """

    def __init__(self, path: Path, *, append: bool = False, sync: bool = False, sums: bool = False) -> None:
        self.path = path
        self._sync, self._sums = sync, sums
        self.damaged: list[str] = []
        """A sentence for every damaged line."""
        self._places: dict[str, tuple[int, int]] = {}
        """Source -> start and length of its line."""
        self._size = 0
        """Bytes of all whole lines."""
        self._in_order = True
        """True if the lines are exactly the records, in order."""
        if append:
            path.touch()
        self._file = path.open("rb") if path.exists() else None
        for number, line in enumerate(self._file or (), 1):
            if line.endswith(b"\n"):
                self._open_line(line, f"{path}: line {number}", repair=append and sums)
        self._end = AppendedFile(path, self._size) if append else None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._end):
            if file is not None:
                file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def __contains__(self, source: object) -> bool:
        return source in self._places

    def __getitem__(self, source: str) -> Record:
        record = _parse(self._line(source), f"{self.path}: the line of {source}")
        record.pop(_SUM, None)
        return record

    def add(self, record: Record) -> None:
        """Add a record, or replace that of its source. Raises OSError that names the file."""
        self._append(record.get("clip", record)["source"], record)

    def remove(self, source: str) -> None:
        """Remove the record of a source."""
        self._append(source, {"clip": {"source": source}, "gone": True})

    def forget(self, source: str) -> None:
        """Ignore a record whose data is lost. Its line stays in the file until the next `compact`."""
        del self._places[source]
        self._in_order = False

    def compact(self) -> None:
        """Rewrite the file as one line per record, in order, unless it is that already. Nothing can be added after."""
        if not self._in_order:
            write_atomic(self.path, (self._line(source) for source in self))

    def _append(self, source: str, record: Record) -> None:
        assert self._end is not None, "opened with append"
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        if self._sums:
            line = line[:-1] + f',"{_SUM}":"{zlib.crc32(line):08x}"}}'.encode()
        line += b"\n"
        assert _source_of(line, "record") == source, "the source comes first"
        self._end.add(line, sync=self._sync)
        self._index(source, line)

    def _open_line(self, line: bytes, place: str, *, repair: bool) -> None:
        try:
            source = _source_of(line, place)
            if repair and not _sum_in(line):
                _parse(line, place)
        except UserError:
            if not repair:
                raise
            self.damaged.append(f"{place} is damaged")
            self._size += len(line)
            self._in_order = False
        else:
            self._index(source, line)

    def _index(self, source: str, line: bytes) -> None:
        if _without_sum(line).endswith(_REMOVED):
            self._places.pop(source, None)
            self._in_order = False
        else:
            last = next(reversed(self._places), "")
            self._in_order = self._in_order and last < source
            self._places[source] = (self._size, len(line))
        self._size += len(line)

    def _line(self, source: str) -> bytes:
        start, length = self._places[source]
        assert self._file is not None, "a journal with records has a file"
        return os.pread(self._file.fileno(), length, start)


class RecordFiles:
    """Records by name, a JSON file each, which is replaced as a whole: any number of jobs may share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in order; names may contain slashes."""
        for path in sorted(self.folder.rglob("*.json")):
            if path != self.folder / SETTINGS:
                yield path.relative_to(self.folder).as_posix().removesuffix(".json")

    def path(self, name: str) -> Path:
        """Return the file of a record."""
        return self.folder / f"{name}.json"

    def read(self, name: str) -> Record | None:
        """Return a record, or None if there is none. Raises UserError for a damaged file."""
        try:
            data = self.path(name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self.damaged(name) from None

    def damaged(self, name: str) -> UserError:
        """Return the error for a record that cannot be read."""
        return UserError(f"{self.path(name)}: damaged; delete this file and run again, which makes its record anew")

    def write(self, name: str, record: Record) -> None:
        write_atomic(self.path(name), (json.dumps(record) + "\n").encode())

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)


def _parse(data: bytes, place: str) -> Record:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise _damaged(place) from None


def _source_of(line: bytes, place: str) -> str:
    """Return the source of a line without parsing all of it. Raises UserError if it differs from its checksum."""
    sum_of = _sum_in(line)
    if sum_of is not None and int(sum_of[1], 16) != zlib.crc32(_without_sum(line)):
        raise UserError(f"{place} is damaged, its checksum differs; run the script that wrote it again to repair it")
    found = _SOURCE.match(line)
    if found is None:
        raise _damaged(place)
    try:
        source, _ = _decode_string(line[found.end() : found.end() + _LONGEST_SOURCE].decode(errors="replace"))
    except ValueError:
        raise _damaged(place) from None
    return source


def _sum_in(line: bytes) -> re.Match[bytes] | None:
    return _SUMMED.search(line, len(line) - _SUM_LENGTH)


def _without_sum(line: bytes) -> bytes:
    """Return a line as it was before its checksum, without its end."""
    found = _sum_in(line)
    return line[:-1] if found is None else line[: found.start()] + b"}"


def _damaged(place: str) -> UserError:
    return UserError(f"{place} is damaged; delete the output and make it again")
