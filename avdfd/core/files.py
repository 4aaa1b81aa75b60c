"""Atomic writing of files, checksums, and locks on outputs."""

import csv
import errno
import fcntl
import hashlib
import io
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from avdfd.core.errors import UserError
from avdfd.core.leftovers import new_file, sweep
from avdfd.core.text import quoted

_SHOWN = 80  # characters of a command
BEST = "best.safetensors"
"""Name of the file in a run folder that holds the weights of its best epoch."""
_KINDS = (
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def write_atomic(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file by `atomic_file`; the data may be an iterable of pieces."""
    with atomic_file(path) as file:
        file.writelines([data] if isinstance(data, bytes) else data)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV by `atomic_file`; the first row holds the column names."""
    write_atomic(path, csv_text(rows).encode())


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, one line per row; no spreadsheet computes a cell (`avdfd.core.text.quoted`)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([quoted(cell) for cell in row] for row in rows)
    return text.getvalue()


@contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` on success; after a crash or power loss, `path` is old or new.

    Without `replace`, raises FileExistsError if `path` exists by then. Raises OSError that names the path if it cannot
    be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        handle, temporary = new_file(path)
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
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # otherwise a power loss may lose the name of the file, though not its content
    finally:
        os.close(folder)


def check_regular(path: str | Path) -> None:
    """Raise OSError, whose text says what it is, for a path to no regular file: reading a FIFO or device may not end.

    Links are followed.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"a {kind_of(mode)}, not a file", str(path))


def kind_of(mode: int) -> str:
    """Return what a path leads to that is neither a regular file nor a folder, by its `st_mode`."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "special file")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path of a file or folder into an OSError: that of a full disk names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a regular file. Raises OSError as `check_regular` does."""
    check_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_path(path: Path) -> Path:
    """Return the path of the file that holds a file's sha256."""
    return path.with_name(f"{path.name}.sha256")


def write_sha256(path: Path, data: bytes) -> str:
    """Write the sha256 of a file's content beside it, in the format of sha256sum, and return it."""
    digest = hashlib.sha256(data).hexdigest()
    write_atomic(sha256_path(path), f"{digest}  {path.name}\n".encode())
    return digest


def read_sha256(path: Path) -> str | None:
    """Return the sha256 stored beside a file, unchecked; None if there is none."""
    try:
        words = sha256_path(path).read_bytes().split()
    except FileNotFoundError:
        return None
    return words[0].decode(errors="replace") if words else ""


def stamp(path: Path) -> list[int]:
    """Return size and modification time (ns) of a file, which change when it is written to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def ensure_writable(folder: Path) -> None:
    """Create a folder, check that files can be written to it, and remove what killed runs left of atomic writes.

    Raises UserError if it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        sweep(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from None


@contextmanager
def locked(lock: Path, output: Path, *, wait: bool = False, patience: float = 0.0) -> Iterator[int]:
    """Lock an output against other runs by `flock` on the file `lock`, which is created and stays.

    Yields the descriptor. The lock ends with this process and with all child processes that inherit the descriptor. If
    another run has the lock, `wait` waits for it, and `patience` does for so many seconds. Raises UserError that names
    the process that has it.
    """
    with open(lock, "a") as file:
        deadline = time.monotonic() + patience
        while not _take(file, wait=wait):
            if time.monotonic() >= deadline:
                raise _taken(lock, output)
            time.sleep(0.1)
        yield file.fileno()


def is_locked(lock: Path) -> bool:
    """Return whether another run has the lock of `locked`."""
    if not lock.exists():
        return False
    with open(lock, "a") as file:
        return not _take(file, wait=False)


def _take(file: IO[str], *, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def lock_for_process(lock: Path, output: Path) -> IO[str]:
    """Lock an output against other processes until the returned file is closed or this process ends.

    Unlike the lock of `locked`, it is not inherited by forked processes: loader processes outlive a killed parent by
    seconds. On file systems without locks, nothing is locked. Raises UserError if another process has the lock.
    """

    file = open(lock, "a")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise _taken(lock, output) from None
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return file


def _taken(lock: Path, output: Path) -> UserError:
    holders = _holders(lock)
    who = f" ({', '.join(holders)})" if holders else ", by another user or on another machine"
    return UserError(f"{output}: another run is writing to it{who}; wait for its end or stop it")


def _holders(lock: Path) -> list[str]:
    """Return number and command of each process that has a lock file open, without this one and those they started."""
    file, found, parents = lock.stat(), {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            open_files = [os.stat(entry) for entry in os.scandir(process / "fd")]
            if int(process.name) != os.getpid() and any(os.path.samestat(file, one) for one in open_files):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found[process.name] = " ".join(words).strip()[:_SHOWN]
                parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
    return [f"process {number}: {found[number]}" for number in sorted(found, key=int) if parents[number] not in found]
