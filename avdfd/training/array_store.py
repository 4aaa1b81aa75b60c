"""Large arrays on disk, made row by row by several processes together, and whole after any interruption.

A folder of

    about.json   what the rows are of, in words, and what was noted when they were made
    NAME.npy     a column, (N, ...): as long as it will be from the start, but sparse until its rows are there
    done.npy     (N,) uint8, 1 where a row is on disk in all columns; its bytes are also what rows are claimed by

A row is done once its data have reached the disk, so that a process that is killed, or a machine that loses its power,
leaves rows that are there and rows that are not, and nothing between. Rows are made in blocks: a process claims a block
by a lock on its bytes of done.npy, which goes with the process. Other processes of the run, other runs and other
machines take other blocks, and no row is made twice.
"""

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, held, write_atomic

ABOUT = "about.json"
DONE = "done"
BLOCK = 32
"""Rows that are claimed, and brought to the disk, at once."""


class Form(NamedTuple):
    """Type and shape of what a column has for each row."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Columns:
    """Columns of N rows in a folder, which is made if it is not there.

    At most one object for a folder in each process: closing a file gives up all that the process has claimed in it.
    Raises UserError for files that have been cut off, or are of something else.
    """

    def __init__(self, root: Path, forms: Mapping[str, Form], rows: int, about: Mapping[str, Any]) -> None:
        self.root, self.rows = root, rows
        self.forms = dict(forms)
        self._all_forms = {**self.forms, DONE: Form("u1", ())}
        self._lock = root.parent / f".{root.name}.lock"
        ensure_writable(root)
        with held(self._lock, root, wait=True):
            if not (root / ABOUT).exists():
                self._make(about)
        if {**self.about(), **json.loads(json.dumps(about))} != self.about():
            raise UserError(f"{root}: is of something else than its name says; delete it, and it is made anew")
        self._starts = {name: self._checked(name) for name in self._all_forms}
        self._files = {name: os.open(self._path(name), os.O_RDWR) for name in self._all_forms}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in all columns."""
        return sum(form.bytes for form in self.forms.values())

    def close(self) -> None:
        """Closes the files, and gives up what is claimed."""
        for file in self._files.values():
            os.close(file)
        self._files = {}

    # ---- reading

    def done(self) -> np.ndarray:
        """(N,) bool: the rows that are there."""
        return self._done(0, self.rows)

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of some rows that are not there yet, in order."""
        if not len(rows):
            return rows
        first = int(rows.min())
        return np.unique(rows[~self._done(first, int(rows.max()) + 1 - first)[rows - first]])

    def column(self, name: str) -> Tensor:
        """(N, ...), mapped into memory, to be read only; rows that are not done are zeros."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has no tensors that are to be read only, and says so
            return torch.from_numpy(np.load(self._path(name), mmap_mode="r"))

    def will_need(self, rows: np.ndarray) -> None:
        """Has rows brought into memory, and does not wait for it."""
        self._advise(rows, os.POSIX_FADV_WILLNEED)

    def drop(self, rows: np.ndarray) -> None:
        """Has rows taken out of memory, so that they come from the disk the next time."""
        self._advise(rows, os.POSIX_FADV_DONTNEED)

    def load(self, rows: np.ndarray) -> None:
        """Reads rows once, so that they are in the memory that all processes share, as far as it reaches."""
        for name, form in self.forms.items():
            buffer = [bytearray(form.bytes)]
            for row in rows.tolist():
                os.preadv(self._files[name], buffer, self._starts[name] + row * form.bytes)

    def _done(self, first: int, count: int) -> np.ndarray:
        return np.frombuffer(os.pread(self._files[DONE], count, self._starts[DONE] + first), np.uint8) == 1

    def _advise(self, rows: np.ndarray, what: int) -> None:
        for name, form in self.forms.items():
            for row in rows.tolist():
                os.posix_fadvise(self._files[name], self._starts[name] + row * form.bytes, form.bytes, what)

    # ---- making

    def claim(self, block: int, *, wait: bool = False) -> bool:
        """Whether a block of BLOCK rows is this process's to make now; `wait` waits until it is."""
        how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._files[DONE], how, BLOCK, self._starts[DONE] + block * BLOCK)
        except (BlockingIOError, PermissionError):  # POSIX lets systems choose which
            return False
        return True

    def release(self, block: int) -> None:
        """Gives up a claim."""
        fcntl.lockf(self._files[DONE], fcntl.LOCK_UN, BLOCK, self._starts[DONE] + block * BLOCK)

    def write(self, rows: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Rows (n,) of all columns, (n, ...) each. Raises OSError that names the file; then the rows are not done.

        Written by system calls: a full disk is an error here, where a mapped page would be a crash.
        """
        for name, form in self.forms.items():
            for row, value in zip(rows.tolist(), values[name], strict=True):
                assert value.dtype == form.dtype, f"{name}: {value.dtype}"
                assert value.shape == form.shape, f"{name}: {value.shape}"
                self._put(name, row, np.ascontiguousarray(value).tobytes())
        for name in self.forms:
            with self._named(name):
                os.fsync(self._files[name])
        for row in rows.tolist():
            self._put(DONE, row, b"\1")

    def check_space(self, count: int) -> None:
        """Raises UserError if so many more rows do not fit on the disk."""
        need, free = count * self.row_bytes, shutil.disk_usage(self.root).free
        if need > free:
            raise UserError(
                f"{self.root}: {count} rows of {self.row_bytes / 1e6:.2f} MB take {need / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free; free some space, or set cache to false"
            )

    def about(self) -> dict[str, Any]:
        """What about.json says. Raises UserError if it is damaged."""
        try:
            return json.loads((self.root / ABOUT).read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            raise UserError(f"{self.root / ABOUT}: damaged; delete {self.root}, and it is made anew") from None

    def note(self, **facts: Any) -> None:
        """Adds to about.json."""
        with held(self._lock, self.root, wait=True):
            self._write_about({**self.about(), **facts})

    # ---- files

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.npy"

    def _make(self, about: Mapping[str, Any]) -> None:
        """about.json comes last: with it, everything is there."""
        for name, form in self._all_forms.items():
            with self._path(name).open("wb") as file:
                header = {"descr": np.dtype(form.dtype).str, "fortran_order": False, "shape": (self.rows, *form.shape)}
                npy.write_array_header_1_0(file, header)
                file.truncate(file.tell() + self.rows * form.bytes)
                os.fsync(file.fileno())
        self._write_about(about)

    def _write_about(self, about: Mapping[str, Any]) -> None:
        write_atomic(self.root / ABOUT, (json.dumps(about, indent=2) + "\n").encode())

    def _checked(self, name: str) -> int:
        """Where the rows of a column begin in its file. Raises UserError if it is not as it was made."""
        path, form = self._path(name), self._all_forms[name]
        remedy = f"delete {self.root}, and it is made anew"
        try:
            with path.open("rb") as file:
                npy.read_magic(file)
                shape, _, dtype = npy.read_array_header_1_0(file)
                start, size = file.tell(), os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise UserError(f"{path}: missing; {remedy}") from None
        except ValueError:
            raise UserError(f"{path}: damaged; {remedy}") from None
        if shape != (self.rows, *form.shape) or dtype != np.dtype(form.dtype):
            raise UserError(f"{path}: holds {dtype} {shape}, something else; {remedy}")
        if size != start + self.rows * form.bytes:
            raise UserError(f"{path}: is {size} bytes, and was made with {start + self.rows * form.bytes}; {remedy}")
        return start

    def _put(self, name: str, row: int, data: bytes) -> None:
        rest, place = memoryview(data), self._starts[name] + row * self._all_forms[name].bytes
        while rest:
            with self._named(name):
                written = os.pwrite(self._files[name], rest, place)
            rest, place = rest[written:], place + written

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """What a full disk says has no name in it."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path(name))) from None
