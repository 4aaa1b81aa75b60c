"""Verification of a store: reads all of its data at the speed of the disk and compares them with the checksums."""

import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.core.checksums import checksum
from avdfd.core.errors import UserError
from avdfd.core.journal import Journal
from avdfd.elements.form import MEMBERS, NOT_FINITE, is_finite
from avdfd.elements.index import is_as_noted, unpack_numbers
from avdfd.elements.layout import FILES, INDEX, STORE, journal_name, parts_of, read_settings, shard_name
from avdfd.elements.table import ElementTable


class Damage(NamedTuple):
    """Damaged data of a store; `str()` is one line with the file, the clip and what is wrong."""

    file: Path
    source: str
    """The clip; empty if the file as a whole is damaged."""
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}" + (f" (clip {self.source})" if self.source else "")


class Verified(NamedTuple):
    """Result of a verification."""

    elements: int
    unchecked: int
    """Elements without a checksum, as they were stored before there were any; only their sizes were compared."""
    bytes: int
    whole: bool
    """False if the store is being written or was interrupted: without an index, later clips may be missing."""
    damages: list[Damage]


def verify(root: Path) -> Verified:
    """Compare all files of a store with their sizes and checksums. Raises UserError if the folder is not a store."""
    noted = read_settings(root).get(FILES, {})
    found = [*_files(root, noted)]
    elements = unchecked = size = 0
    for part in parts_of(root):
        path = root / journal_name(part.number)
        try:
            with Journal(path) as journal:
                windows = [window for record in journal.values() for window in record["windows"]]
                elements += len(windows)
                unchecked += sum("sums" not in window for window in windows)
                size += sum(window["at"][-1] - window["at"][0] for window in windows)
                found += damages(root, part.number, journal)
                if INDEX in noted:
                    found += _ends(root, part.number, windows)
        except UserError as error:
            found.append(Damage(path, "", str(error).removeprefix(f"{path}: ")))
        except (KeyError, TypeError, ValueError):
            found.append(Damage(path, "", "not the journal of a store"))
    return Verified(elements, unchecked, size, INDEX in noted, found)


def _files(root: Path, noted: Mapping[str, Sequence[int]]) -> Iterator[Damage]:
    """Check the index and the journals of a whole store as files, and the columns of the index."""
    for name in sorted(noted):
        if not (root / name).exists():
            yield Damage(root / name, "", "missing")
        elif not is_as_noted(root / name, noted):
            yield Damage(root / name, "", f"damaged, its checksum differs from {STORE}")
        elif name == INDEX:
            try:
                ElementTable.load(root / name)
            except UserError as error:
                yield Damage(root / name, "", str(error).removeprefix(f"{root / name}: "))


def damages(root: Path, part: int, records: Mapping[str, Mapping[str, Any]]) -> Iterator[Damage]:
    """Read all elements of a part in their order on disk; yield those that are missing, differ from their checksum
    or have values that are not finite.

    Elements without a checksum are not read.
    """
    places: dict[int, list[tuple[int, int, str, str, int, list[int]]]] = {}
    for source in records:
        for window in records[source]["windows"]:
            expected = int(unpack_numbers(window["sums"])[0]) if "sums" in window else 0
            place = (window["at"][0], window["at"][-1], source, window["key"], expected, window["at"][1:-1])
            places.setdefault(window["shard"], []).append(place)
    for number in sorted(places):
        path = root / shard_name(part, number)
        if not path.exists():
            yield Damage(path, places[number][0][2], "missing")
            continue
        with path.open("rb", buffering=0) as file:
            for first, last, source, key, expected, offsets in sorted(places[number]):
                if os.fstat(file.fileno()).st_size < last:
                    yield Damage(path, source, f"{key} is missing, the file is too short")
                elif expected:
                    data = os.pread(file.fileno(), last - first, first)
                    if checksum(data) != expected:
                        yield Damage(path, source, f"{key} is damaged")
                    elif not all(is_finite(values) for values in _floats(data, first, offsets)):
                        yield Damage(path, source, f"{key} {NOT_FINITE}")


def _floats(data: bytes, first: int, offsets: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the arrays among the members of an element, given its data and the place of each member in the shard."""
    for (suffix, size), offset in zip(MEMBERS.items(), offsets, strict=True):
        if suffix.endswith(".npy") and offset >= 0:
            yield np.frombuffer(data, "<f4", size // 4, offset - first)


def _ends(root: Path, part: int, windows: list[dict[str, Any]]) -> Iterator[Damage]:
    """Check the end markers of the shards of a whole store."""
    ends: dict[int, int] = {}
    for window in windows:
        ends[window["shard"]] = max(ends.get(window["shard"], 0), window["at"][-1])
    for number, end in ends.items():
        path = root / shard_name(part, number)
        if path.exists() and path.stat().st_size >= end and not is_ended(path, end):
            yield Damage(path, "", "its end marker is damaged")


def is_ended(path: Path, end: int) -> bool:
    """Return True if a shard has an end marker here, and nothing after it."""
    with path.open("rb") as file:
        file.seek(end)
        return file.read(4 * tarfile.BLOCKSIZE) == bytes(2 * tarfile.BLOCKSIZE)
