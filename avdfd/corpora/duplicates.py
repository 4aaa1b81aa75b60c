"""Duplicates among the files of a data set: equal bytes, equal video, equal audio.

Near-duplicates are found by the fingerprints of `avdfd.media.fingerprints`. Only files whose hashes agree in one whole
segment of bits are compared, each with its neighbours in bit order. The work therefore grows with the number of files
and not with its square.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv

from avdfd.core.errors import UserError
from avdfd.core.text import unquoted

SOUND_BITS = 36
PICTURE_BITS = 40
_SEGMENT = 2  # bytes that must agree
_NEIGHBOURS = 64

MATCHES = ("bytes", "picture+sound", "picture", "sound")


class Hashed(Protocol):
    """Hashes by which duplicates are found; None if unknown."""

    @property
    def sha256(self) -> str | None: ...
    @property
    def picture_hash(self) -> bytes | None: ...
    @property
    def sound_hash(self) -> bytes | None: ...


class Group(NamedTuple):
    """Files that are near-duplicates by `match`, one of MATCHES: positions in the rows, in order."""

    match: str
    members: tuple[int, ...]


def find_duplicates(rows: Sequence[Hashed]) -> list[Group]:
    """Return groups of files with equal bytes, equal video and audio, equal video, or equal audio.

    Near-duplicates of near-duplicates belong to the group. A group that has a stronger match already is not repeated.
    """
    same = _by_value([row.sha256 for row in rows])
    videos = _near([row.picture_hash for row in rows], PICTURE_BITS)
    audios = _near([row.sound_hash for row in rows], SOUND_BITS)
    both = _common(videos, audios)
    groups: dict[tuple[int, ...], str] = {}
    for match, labels in zip(MATCHES, (same, both, videos, audios), strict=True):
        for members in _members(labels):
            groups.setdefault(members, match)
    return [Group(match, members) for members, match in groups.items()]


def read_groups(path: Path) -> list[list[str]]:
    """Return the paths of each group in a file that `make_manifest.py --duplicates` wrote. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; make_manifest.py --duplicates writes it")
    columns = {"group": pa.string(), "path": pa.string()}
    try:
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(include_columns=list(columns), column_types=columns),
        )
    except pa.ArrowException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not written by make_manifest.py --duplicates ({first}); make it again") from None
    groups: dict[str, list[str]] = {}
    for group, source in zip(table["group"].to_pylist(), table["path"].to_pylist(), strict=True):
        groups.setdefault(group, []).append(unquoted(source))
    return list(groups.values())


def distance(one: bytes, other: bytes) -> int:
    """Return the number of bits in which two hashes of equal length differ."""
    return int(_COUNT[np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8)].sum())


_COUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)  # bits of a byte


def _by_value(values: Sequence[str | None]) -> np.ndarray:
    """Return a label (n,) per value, equal for equal values; -1 for None."""
    numbers: dict[str, int] = {}
    return np.array([-1 if v is None else numbers.setdefault(v, len(numbers)) for v in values], dtype=np.int64)


def _near(hashes: Sequence[bytes | None], bits: int) -> np.ndarray:
    """Return a label (n,) per hash, equal for hashes that differ in at most `bits`; -1 for None."""
    labels = np.full(len(hashes), -1, dtype=np.int64)
    there = [number for number, value in enumerate(hashes) if value is not None]
    if there:
        table = np.frombuffer(b"".join(hashes[number] or b"" for number in there), np.uint8).reshape(len(there), -1)
        distinct, inverse = np.unique(table, axis=0, return_inverse=True)
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *_close(distinct, bits)])
        from scipy.sparse import coo_array  # here, as few runs need it
        from scipy.sparse.csgraph import connected_components

        graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(distinct),) * 2)
        labels[there] = connected_components(graph, directed=False)[1][inverse.ravel()]
    return labels


def _close(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Yield pairs (m, 2) of rows of (n, bytes) that differ in at most `bits`, segment by segment."""
    for start in range(0, hashes.shape[1], _SEGMENT):
        rolled = np.ascontiguousarray(np.roll(hashes, -start, axis=1))
        order = np.lexsort(rolled.view(">u8").T[::-1])
        rolled = rolled[order]
        key = rolled[:, :_SEGMENT].copy().view(f">u{_SEGMENT}")[:, 0]
        for offset in range(1, _NEIGHBOURS + 1):
            first = np.flatnonzero(key[:-offset] == key[offset:])
            if not len(first):
                break
            first = first[_COUNT[rolled[first] ^ rolled[first + offset]].sum(axis=1, dtype=np.int64) <= bits]
            yield np.stack([order[first], order[first + offset]], axis=1)


def _common(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return a label (n,) per row, equal for rows that share both labels."""
    both = one * (other.max(initial=0) + 1) + other
    return np.where((one < 0) | (other < 0), -1, both)


def _members(labels: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Yield the positions of each label that at least two rows have, in order of the first position."""
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    shared = [tuple(part.tolist()) for part in parts if len(part) > 1 and labels[part[0]] >= 0]
    yield from sorted(shared)
