"""The list of files of a data set, as a hub states it: each entry is checked by itself."""

import json
import re
from typing import Any, NamedTuple
from urllib.parse import quote

from avdfd.core.tree import leads_out

LARGEST_SHARD = 1 << 40
"""Most bytes of a shard that are believed."""

_LONGEST = 200  # characters of a quoted path, as the state of a shard is a file of that name
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Shard(NamedTuple):
    """A tar file in the list of the hub; `sha256` is None if it is not in large-file storage."""

    path: str
    size: int
    sha256: str | None


def read_entries(page: bytes) -> tuple[list[Shard], list[tuple[str, str]]]:
    """Return the tar files of a page of the list, and path and reason of the entries that are not valid.

    Raises ValueError if it is not a list of files: not JSON, not a list, or without a single valid entry.
    """
    try:
        entries = json.loads(page)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(entries, list):
        raise ValueError("not a list")
    shards: list[Shard] = []
    refused: list[tuple[str, str]] = []
    valid = 0
    for entry in entries:
        reason = _why_refused(entry)
        path = entry.get("path") if isinstance(entry, dict) else None
        if reason:
            refused.append((ascii(path)[1:-1][:_LONGEST] if isinstance(path, str) else "", reason))
            continue
        valid += 1
        if entry["type"] == "file" and entry["path"].endswith(".tar"):
            shards.append(Shard(entry["path"], entry["size"], (entry.get("lfs") or {}).get("oid")))
    if entries and not valid:
        raise ValueError("no valid entry")
    return shards, refused


def _why_refused(entry: Any) -> str:
    """Return why an entry of the list is not valid; "" if it is, and for files that are not needed."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        return "not an entry of a file or folder"
    path = entry.get("path")
    if not isinstance(path, str) or not path:
        return "has no path"
    if entry["type"] != "file" or not path.endswith(".tar"):
        return ""
    if leads_out(path) or not path.isprintable():
        return "its path leads elsewhere, or has control characters"
    if len(quote(path, safe="")) > _LONGEST:
        return f"its path is longer than {_LONGEST} characters"
    size, lfs = entry.get("size"), entry.get("lfs")
    if type(size) is not int or not 0 <= size <= LARGEST_SHARD:
        return "its size is not a number of bytes up to 1 TiB"
    oid = lfs.get("oid") if isinstance(lfs, dict) else None
    if lfs is not None and not (isinstance(oid, str) and _SHA256.fullmatch(oid)):
        return "its sha256 is not one"
    return ""
