"""Temporary files and folders, and removal of those that killed processes left behind.

Each is locked by `flock` while it is in use. The lock ends with its process, however that ends, so what is not locked
is a leftover. Where a file system has no locks, nothing is removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".avdfd-tmp"
"""End of the names of temporary files, which tells them from files of the user."""


def new_file(path: Path) -> tuple[int, str]:
    """Return descriptor and name of a new, locked temporary file in the folder of `path`."""
    while True:
        file, name = tempfile.mkstemp(SUFFIX, f".{path.name}.", path.parent)
        _lock(file)
        if os.fstat(file).st_nlink:  # otherwise it was swept before it was locked
            return file, name
        os.close(file)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder in the system's folder for temporary files, and remove it in the end.

    First removes this user's folders with the same prefix that killed processes left behind.
    """
    parent = Path(tempfile.gettempdir())
    for path in parent.glob(f"{prefix}*"):
        _remove(path)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(held)
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files in a folder that killed processes left behind."""
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(".") and entry.name.endswith(SUFFIX)]
    for path in left:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder of this user that nobody has locked. One that cannot be removed is left."""
    with suppress(OSError):
        folder = path.is_dir()
        held = os.open(path, (os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR) | os.O_NOFOLLOW)
        try:
            if os.fstat(held).st_uid == os.getuid():
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if folder else path.unlink()
        finally:
            os.close(held)


def _lock(file: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)
