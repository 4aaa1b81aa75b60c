"""Files of a folder and of all folders below it, links to folders included."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from avdfd.core.files import kind_of

_OUT = re.compile(r"/|(?:.*/)?\.\.(?:/|\Z)|[./]*\Z|.*\0", re.DOTALL)


def walk(root: Path, folder: str = "", skip: Callable[[str], bool] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the path, relative to the root, of every file below a folder of it, and an empty text.

    Links to folders are followed. A folder that is not entered has a reason in place of the empty text: it cannot be
    read, or is a link to a folder that contains it. So has what is no regular file, such as a FIFO; a link to nothing,
    unless its name is that of a file with a suffix; and a name that is not UTF-8, which no table could hold: such a
    path is written with escapes. Folders for whose path `skip` is true are passed over.
    """
    start = root / folder
    above = {_identity(place.stat()) for place in start.parents if place.is_relative_to(root) and place.is_dir()}
    waiting = [(start, frozenset(above))]
    while waiting:
        place, entered = waiting.pop()
        relative = "" if place == root else place.relative_to(root).as_posix()
        if not place.is_dir():
            continue
        try:
            status = place.stat()
            children = sorted(os.scandir(place), key=lambda child: child.name)
        except OSError as error:
            yield relative or ".", f"a folder that cannot be read ({error.strerror})"
            continue
        own = _identity(status)
        if own in entered:
            yield relative, "a link to a folder that contains it; it was not entered"
            continue
        for child in children:
            source = f"{relative}/{child.name}" if relative else child.name
            if not _is_utf8(source):
                yield source.encode("utf-8", "backslashreplace").decode(), "its name is not UTF-8; rename it"
            elif _is_folder(child):
                if skip is not None and skip(source):
                    continue
                waiting.append((place / child.name, entered | {own}))
            elif child.is_symlink() and not os.path.splitext(child.name)[1] and not os.path.exists(child.path):
                yield source, "a link to nothing"
            else:
                yield source, _why_no_file(child)


def tidy(name: str) -> str:
    """Return a path from a table with slashes and in composed form.

    Tables from Windows have backslashes, and macOS decomposes letters with accents and Korean syllables.
    """
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix()) if name else ""


def leads_out(name: str) -> bool:
    """Return True if a path from a text is none below the folder that it is relative to: absolute, with "..", empty."""
    return _OUT.match(name) is not None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _why_no_file(child: os.DirEntry[str]) -> str:
    """Return what an entry is that is no regular file; empty for a file, and for a link to nothing."""
    try:
        return "" if child.is_file() else f"a {kind_of(child.stat().st_mode)}, not a file"
    except OSError:
        return ""


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
