"""File names of an element store, and its settings."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avdfd.config import MediaConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import write_atomic
from avdfd.core.remote_files import is_url
from avdfd.core.shards import MOST_SHARDS, Shard
from avdfd.features.window import FRAMES, frames_of

STORE = "store.json"
INDEX = "index.arrow"
INDEX_LOCK = ".index.lock"
FILES = "files"
"""Key of store.json: size and checksum of the index and of every journal, by name."""
REMOTE = Path("data/remote")
"""Folder of the small files, and of the caches, of stores at a URL."""
_FILE = re.compile(r"index\.arrow|journal-\d+\.jsonl")
MIN_FAKE = "media.min_fake"
"""A former setting: windows of fakes with fewer fake seconds were left out of the store."""
LATER = {"media.short": "short clips"}
"""Settings that stores of earlier versions lack, and what false leaves out."""
_NOT_FAKE = b'"reason":"nothing in it is fake"'


def journal_name(part: int) -> str:
    """Return the file name of a part's journal."""
    return f"journal-{part:03d}.jsonl"


def shard_name(part: int, number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{part:03d}-{number:05d}.tar"


def lock_name(part: int) -> str:
    """Return the name of the lock file that the writer of a part holds."""
    return f".part-{part:03d}.lock"


def folder_of(elements: str | Path) -> Path:
    """Return the folder of a store on this machine: for a URL, that of its small files, which are there once opened."""
    if not is_url(elements):
        return Path(elements)
    url = str(elements).rstrip("/")
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2])[-60:]
    return REMOTE / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def read_settings(root: Path) -> dict[str, Any]:
    """Return the content of store.json: version, parts, settings, and `files` once the store is whole.

    Raises UserError if there is none.
    """
    try:
        found = json.loads((root / STORE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        problem = "is not an element store" if root.exists() else "no such element store"
        if any(root.glob("shard-*.tar")) or (root / INDEX).exists():
            raise UserError(f"{root}: has no {STORE}: copied in part; copy all of the store again") from None
        raise UserError(f"{root}: {problem}; data/preprocess.py makes one") from None
    except (ValueError, RecursionError):
        raise UserError(f"{root / STORE}: damaged; copy it again, or delete the store and make it again") from None
    fields = {"version": str, "parts": int, "settings": dict, FILES: dict}
    if (
        not isinstance(found, dict)
        or any(not isinstance(found.get(key, kind()), kind) for key, kind in fields.items())
        or not all(_FILE.fullmatch(name) and _is_note(note) for name, note in found.get(FILES, {}).items())
    ):
        raise UserError(f"{root / STORE}: not that of a store; copy it again, or delete the store and make it again")
    if not 0 <= found.get("parts", 1) <= MOST_SHARDS:
        raise UserError(f"{root / STORE}: {found['parts']} parts; a store has 1 to {MOST_SHARDS}")
    return found


def note_files(root: Path, files: Mapping[str, Sequence[int]] | None) -> None:
    """Note the index and the journals of a whole store in store.json; None deletes the note, before they change.

    `files` has their sizes and checksums by name, by which a damaged store or a part of one is recognised.
    """
    found = read_settings(root)
    before = found.pop(FILES, None)
    if files is not None or before is not None:
        found |= {} if files is None else {FILES: files}
        write_atomic(root / STORE, (json.dumps(found, indent=2) + "\n").encode())


def check_size(path: Path, at_least: int) -> None:
    """Check that a file of a store is there and not shorter. Raises UserError if not."""
    size = path.stat().st_size if path.exists() else None
    if size is None or size < at_least:
        problem = "missing" if size is None else f"has {size} of {at_least} bytes"
        raise UserError(
            f"{path}: {problem}: the store is damaged or was copied in part; copy it again, or run data/preprocess.py "
            "again to restore it"
        )


def _is_note(note: Any) -> bool:
    return isinstance(note, list) and len(note) == 2 and all(isinstance(number, int) for number in note)


def media_of(root: str | Path) -> MediaConfig | None:
    """Return the settings by which the elements of a store were cut from files; None if it does not state them.

    The settings of mel_err are left out. Raises UserError if a stated value is not valid.
    """
    folder = folder_of(root)
    if not (folder / STORE).is_file():
        return None
    values: dict[str, Any] = {}
    for key, value in read_settings(folder).get("settings", {}).items():
        section, _, name = key.partition(".")
        name, _, inner = name.partition(".")
        if section != "media" or name not in MediaConfig.model_fields.keys() - {"mel_err"}:
            continue
        if inner:
            values.setdefault(name, {})[inner] = value
        else:
            values[name] = value
    return parse(values, MediaConfig, source=str(folder / STORE)) if values else None


def left_out_by_truth(root: Path) -> int:
    """Return the number of windows that a store lacks because nothing in them was fake (`MIN_FAKE`).

    Evaluated on such a store, a system is spared the real windows of fake clips. 0 for another folder.
    """
    if not (root / STORE).exists() or not read_settings(root).get("settings", {}).get(MIN_FAKE):
        return 0
    found = 0
    for part in parts_of(root):
        path = root / journal_name(part.number)
        if path.exists():
            with path.open("rb") as file:
                found += sum(line.count(_NOT_FAKE) for line in file)
    return found


def longest_of(settings: Mapping[str, Any]) -> int:
    """Return the largest number of frames of an element, from the settings of its store."""
    return frames_of(settings["media.max_seconds"]) if settings.get("media.whole") else FRAMES


def parts_of(root: Path) -> list[Shard]:
    """Return the parts of a store; one part for a folder that is not a store yet."""
    count = read_settings(root).get("parts", 1) if (root / STORE).exists() else 1
    return [Shard(number, count) for number in range(count)]
