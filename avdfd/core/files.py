"""Files that are there whole or not at all, and what identifies them."""

import csv
import errno
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from avdfd.core.errors import UserError

BEST = "best.safetensors"
"""Name of the file in a run folder that holds the weights of its best epoch."""


def write_atomic(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Writes a file, as `atomic_file` does; the data may come in pieces."""
    with atomic_file(path) as file:
        file.writelines([data] if isinstance(data, bytes) else data)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows as CSV, the first of them the names of the columns, as `atomic_file` does."""
    write_atomic(path, csv_text(rows).encode())


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, a line each."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, so that after a crash or loss of power at any moment the old or the new content is there.

    Without `replace`, raises FileExistsError if another process was faster. Raises OSError that names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):  # what a full disk says has no name in it
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the name may be lost with the power, though the content is not
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_path(path: Path) -> Path:
    """Where a file's sha256 stands."""
    return path.with_name(f"{path.name}.sha256")


def write_sha256(path: Path, data: bytes) -> str:
    """Writes the sha256 of a file's content beside it, as sha256sum does, and returns it."""
    digest = hashlib.sha256(data).hexdigest()
    write_atomic(sha256_path(path), f"{digest}  {path.name}\n".encode())
    return digest


def read_sha256(path: Path) -> str | None:
    """What stands beside a file as its sha256, whatever it is; None if nothing does."""
    try:
        words = sha256_path(path).read_bytes().split()
    except FileNotFoundError:
        return None
    return words[0].decode(errors="replace") if words else ""


def stamp(path: Path) -> list[int]:
    """Size and time of change of a file: equal as long as nobody wrote to it."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def ensure_writable(folder: Path) -> None:
    """Makes a folder, and fails before the work, not after it, where nothing can be written. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from None


@contextmanager
def held(lock: Path, output: Path, *, wait: bool = False) -> Iterator[int]:
    """Holds an output against other runs by a lock on a file, which is made if there is none and stays.

    The lock goes with the process, however that ends, and with those that get the descriptor that this yields. If
    another run has it, `wait` waits for it. Raises UserError if another run has it and `wait` is not set.
    """
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise _taken(output) from None
        yield file.fileno()


def hold(lock: Path, output: Path) -> IO[str]:
    """Holds an output until what this returns is closed or this process ends, in whatever way.

    Unlike with `held`, processes that it forks do not hold it: loader processes outlive a killed one by seconds. Where
    a file system knows no locks, nothing is held. Raises UserError if another process has it.
    """
    file = open(lock, "a")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise _taken(output) from None
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return file


def _taken(output: Path) -> UserError:
    return UserError(f"{output}: another run is writing to it; wait for its end or stop it")
