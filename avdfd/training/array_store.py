"""Large arrays on disk, filled row by row by several processes, and consistent after any interruption.

A folder of

    about.json   description of the rows, and notes made while they were written
    NAME.npy     an array (N, ...), sparse at its final size from the start
    done.npy     (N,) uint8, 1 where a row is on disk in every array; its bytes also serve as locks

A row counts as done only after its data have reached the disk, so a killed process or a power failure leaves every row
either complete or missing. A process claims a block of rows by locking its bytes of done.npy, and the lock ends with
the process. Other processes, runs and machines take other blocks, so no row is computed twice.
"""

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, locked, naming, write_atomic
from avdfd.core.text import parse_json

ABOUT = "about.json"
DONE = "done"
BLOCK = 32
"""Rows that are claimed, and written to disk, together."""


class RowFormat(NamedTuple):
    """Type and shape of one row of an array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class ArrayStore:
    """Named arrays of N rows in a folder, which is created if it does not exist.

    At most one object per folder and process: closing any file descriptor of a file drops all of the process's locks on
    it. Raises UserError for truncated, damaged or foreign files.
    """

    def __init__(self, root: Path, formats: Mapping[str, RowFormat], rows: int, about: Mapping[str, Any]) -> None:
        self.root, self.rows = root, rows
        self.formats = dict(formats)
        self._all_formats = {**self.formats, DONE: RowFormat("u1", ())}
        self._lock = root.parent / f".{root.name}.lock"
        ensure_writable(root)
        with locked(self._lock, root, wait=True):
            if not (root / ABOUT).exists():
                self._create(about)
        if {**self.about(), **json.loads(json.dumps(about))} != self.about():
            raise UserError(f"{root}: content does not match its key; delete the folder, it will be computed again")
        self._starts = {name: self._checked(name) for name in self._all_formats}
        self._files = {name: os.open(self._path(name), os.O_RDWR) for name in self._all_formats}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in all arrays."""
        return sum(row.bytes for row in self.formats.values())

    def close(self) -> None:
        """Close the files and release all claims."""
        for file in self._files.values():
            os.close(file)
        self._files = {}

    # ---- reading

    def done(self) -> np.ndarray:
        """(N,) bool, True for rows that are on disk."""
        return self._done(0, self.rows)

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Return those of the given rows that are not on disk yet, sorted."""
        if not len(rows):
            return rows
        first = int(rows.min())
        return np.unique(rows[~self._done(first, int(rows.max()) + 1 - first)[rows - first]])

    def array(self, name: str) -> Tensor:
        """Map an array (N, ...) into memory, read-only; rows that are not done are zeros."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that it has no read-only tensors
            return torch.from_numpy(np.load(self._path(name), mmap_mode="r"))

    def will_need(self, rows: np.ndarray) -> None:
        """Ask the system to read rows into memory, without waiting for it."""
        self._advise(rows, os.POSIX_FADV_WILLNEED)

    def drop(self, rows: np.ndarray) -> None:
        """Ask the system to drop rows from memory, so that the next read comes from the disk."""
        self._advise(rows, os.POSIX_FADV_DONTNEED)

    def load(self, rows: np.ndarray) -> None:
        """Read rows once, so that they are in the page cache, which all processes share."""
        for name, row_format in self.formats.items():
            buffer = [bytearray(row_format.bytes)]
            for row in rows.tolist():
                os.preadv(self._files[name], buffer, self._starts[name] + row * row_format.bytes)

    def _done(self, first: int, count: int) -> np.ndarray:
        return np.frombuffer(os.pread(self._files[DONE], count, self._starts[DONE] + first), np.uint8) == 1

    def _advise(self, rows: np.ndarray, advice: int) -> None:
        for name, row_format in self.formats.items():
            for row in rows.tolist():
                start = self._starts[name] + row * row_format.bytes
                os.posix_fadvise(self._files[name], start, row_format.bytes, advice)

    # ---- writing

    def claim(self, block: int, *, wait: bool = False) -> bool:
        """Try to claim a block of BLOCK rows for this process; return whether it did. `wait` waits until it can."""
        how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._files[DONE], how, BLOCK, self._starts[DONE] + block * BLOCK)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            return False
        return True

    def release(self, block: int) -> None:
        """Release a claim."""
        fcntl.lockf(self._files[DONE], fcntl.LOCK_UN, BLOCK, self._starts[DONE] + block * BLOCK)

    def write(self, rows: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Write rows (n,) of all arrays, values (n, ...) each.

        Raises OSError that names the file; the rows are then not done. Written by system calls, because a full disk is
        an error there and a crash in a mapped page.
        """
        for name, row_format in self.formats.items():
            for row, value in zip(rows.tolist(), values[name], strict=True):
                assert value.dtype == row_format.dtype, f"{name}: {value.dtype}"
                assert value.shape == row_format.shape, f"{name}: {value.shape}"
                self._put(name, row, np.ascontiguousarray(value).tobytes())
        for name in self.formats:
            with naming(self._path(name)):
                os.fsync(self._files[name])
        for row in rows.tolist():
            self._put(DONE, row, b"\1")

    def check_space(self, count: int, option: str) -> None:
        """Raise UserError if `count` more rows do not fit on the disk; `option` is the key by which none are written,
        if there is one."""
        need, free = count * self.row_bytes, shutil.disk_usage(self.root).free
        if need > free:
            raise UserError(
                f"{self.root}: {count} rows of {self.row_bytes / 1e6:.2f} MB take {need / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free; free some space{f', or set {option} to false' if option else ''}"
            )

    def about(self) -> dict[str, Any]:
        """Return the content of about.json. Raises UserError if it is damaged."""
        try:
            return parse_json((self.root / ABOUT).read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{self.root / ABOUT}: damaged; delete {self.root}, it will be computed again") from None

    def note(self, **facts: Any) -> None:
        """Add facts to about.json."""
        with locked(self._lock, self.root, wait=True):
            self._write_about({**self.about(), **facts})

    # ---- files

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.npy"

    def _create(self, about: Mapping[str, Any]) -> None:
        """Create the files, about.json last: it marks the folder as complete."""
        for name, row in self._all_formats.items():
            with naming(self._path(name)), self._path(name).open("wb") as file:
                header = {"descr": np.dtype(row.dtype).str, "fortran_order": False, "shape": (self.rows, *row.shape)}
                npy.write_array_header_1_0(file, header)
                file.truncate(file.tell() + self.rows * row.bytes)
                os.fsync(file.fileno())
        self._write_about(about)

    def _write_about(self, about: Mapping[str, Any]) -> None:
        write_atomic(self.root / ABOUT, (json.dumps(about, indent=2) + "\n").encode())

    def _checked(self, name: str) -> int:
        """Return the offset of the first row in an array's file. Raises UserError if the file is not as created."""
        path, row = self._path(name), self._all_formats[name]
        remedy = f"delete {self.root}, it will be computed again"
        try:
            with path.open("rb") as file:
                npy.read_magic(file)
                shape, _, dtype = npy.read_array_header_1_0(file)
                start, size = file.tell(), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise UserError(f"{path}: missing; {remedy}") from None
        except ValueError:
            raise UserError(f"{path}: damaged; {remedy}") from None
        expected = np.dtype(row.dtype), (self.rows, *row.shape)
        if (dtype, shape) != expected:
            raise UserError(f"{path}: holds {dtype} {shape}, expected {expected[0]} {expected[1]}; {remedy}")
        if size != start + self.rows * row.bytes:
            raise UserError(f"{path}: has {size} bytes, expected {start + self.rows * row.bytes}; {remedy}")
        return start

    def _put(self, name: str, row: int, data: bytes) -> None:
        rest, offset = memoryview(data), self._starts[name] + row * self._all_formats[name].bytes
        while rest:
            with naming(self._path(name)):
                written = os.pwrite(self._files[name], rest, offset)
            rest, offset = rest[written:], offset + written
