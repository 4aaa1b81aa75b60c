"""Writing of element stores: append-only, and whole after any interruption."""

import fcntl
import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from avdfd.element_form import (
    INDEX,
    STORE,
    encode_meta,
    frame_sizes,
    meta_of,
    pack_sizes,
    read_index,
    read_settings,
    shard_name,
)
from avdfd.errors import UserError
from avdfd.features import MEL_BINS, MEL_FRAMES, WINDOW
from avdfd.files import ensure_writable, write_atomic

# Members that a reader goes to, with the size of their data behind a header; the frames have none.
_BODIES = {"wav": 2 * WINDOW, "mel.npy": 4 * MEL_BINS * MEL_FRAMES, "mjpeg": 0}


class ElementWriter:
    """Adds clips to a store, as a context manager; makes the store if there is none.

    A clip is in the store once its line is in the index, which is written after its data; whatever an interruption
    leaves behind that is cut off when the store is next opened. Raises UserError if the folder holds something else,
    if the store was made with other settings, or if another run is writing to it.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any], shard_clips: int = 256) -> None:
        self.root = Path(root)
        self.settings = dict(settings)
        self.version = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:12]
        self.shard_clips = shard_clips
        self.records: dict[str, dict[str, Any]] = {}
        """What the index says, by source."""

    def __enter__(self) -> "ElementWriter":
        self._claim()
        self._lock = open(self.root / STORE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(f"{self.root}: another run is writing to it; wait for its end or stop it") from None
        records, whole = read_index(self.root)
        self._index = _Appended(self.root / INDEX, whole)
        self._sizes = {n: p.stat().st_size for n, p in self._shards()}
        # A clip whose data is not all there (deleted, or lost with the power) counts as not done.
        self.records = {source: r for source, r in records.items() if self._complete(r)}
        self._number = max((w["shard"] for r in self.records.values() for w in r["windows"]), default=0)
        for number, path in self._shards():
            if number > self._number:
                path.unlink()
        self._open_shard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._shard.cut(self._end)
            if kind is None:
                self._finish_shard()
                lines = (_line(self.records[source]) for source in sorted(self.records))
                write_atomic(self.root / INDEX, b"".join(lines))
        finally:
            self._shard.close()
            self._index.close()
            self._lock.close()

    def add(self, clip: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], **facts: Any) -> None:
        """Adds a clip (tier, identities, source, base, method, race, gender, sha256) with its windows, or replaces it.

        A window has `start`, `end` and `parts`. `facts` are kept in the record of the clip. Without windows the
        record alone is kept: that the clip was looked at, and what came of it.
        """
        if clip["source"] in self.records:
            self.drop([clip["source"]])
        places = [self._append(clip, window) for window in windows]
        self._commit({"clip": dict(clip), "windows": places, **facts})

    def drop(self, sources: Iterable[str]) -> None:
        """Removes clips. Shards that held them are written anew, so that none of them has stale members."""
        removed = [self.records.pop(source) for source in sources]
        stale = {w["shard"] for record in removed for w in record["windows"]}
        if stale:
            self._next_shard()
        for record in list(self.records.values()):
            if any(w["shard"] in stale for w in record["windows"]):
                self._commit({**record, "windows": [self._moved(w, stale) for w in record["windows"]]})
        for record in removed:
            self._index.add(_line({"clip": record["clip"], "windows": [], "gone": True}))
        for number in stale:
            (self.root / shard_name(number)).unlink()

    def _claim(self) -> None:
        """Makes the store, or checks that it is one with the same settings."""
        ensure_writable(self.root)
        if not (self.root / STORE).exists():
            if any(not path.name.startswith(".") for path in self.root.iterdir()):
                raise UserError(f"{self.root}: holds other files and no element store; choose another folder")
            store = {"version": self.version, "settings": self.settings}
            write_atomic(self.root / STORE, (json.dumps(store, indent=2) + "\n").encode())
            return
        found = read_settings(self.root)["settings"]
        changed = [
            f"{key} was {json.dumps(found.get(key))} and is now {json.dumps(self.settings.get(key))}"
            for key in sorted({*found, *self.settings})
            if found.get(key) != self.settings.get(key)
        ]
        if changed:
            remedy = "choose another output, or delete this one"
            raise UserError(f"{self.root}: made with other settings ({'; '.join(changed)}): {remedy}")

    def _shards(self) -> list[tuple[int, Path]]:
        return [(int(path.stem[6:]), path) for path in sorted(self.root.glob("shard-*.tar"))]

    def _complete(self, record: Mapping[str, Any]) -> bool:
        return all(self._sizes.get(w["shard"], 0) >= w["at"][-1] for w in record["windows"])

    def _open_shard(self) -> None:
        windows = [w for r in self.records.values() for w in r["windows"] if w["shard"] == self._number]
        self._count = len(windows)
        self._end = max((w["at"][-1] for w in windows), default=0)
        self._shard = _Appended(self.root / shard_name(self._number), self._end)

    def _finish_shard(self) -> None:
        self._shard.add(bytes(2 * tarfile.BLOCKSIZE))  # the mark of the end of an archive

    def _next_shard(self) -> None:
        self._finish_shard()
        self._shard.close()
        self._number += 1
        self._open_shard()

    def _append(self, clip: Mapping[str, Any], window: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the members of a window; returns where they are."""
        if self._count >= self.shard_clips:
            self._next_shard()
        place = {
            "key": f"{clip['source'].replace('.', '_')}/{round(window['start'] * 1000):06d}",
            "start": window["start"],
            "end": window["end"],
        }
        parts = {"json": encode_meta(meta_of(clip, place, self.version)), **window["parts"]}
        at = [self._shard.end]
        for suffix, data in parts.items():
            header = tarfile.TarInfo(f"{place['key']}.{suffix}")
            header.size = len(data)
            self._shard.add(header.tobuf(tarfile.PAX_FORMAT))
            if suffix in _BODIES:
                at.append(self._shard.end + (len(data) - _BODIES[suffix] if _BODIES[suffix] else 0))
            self._shard.add(data + bytes(-len(data) % tarfile.BLOCKSIZE))
        self._count += 1
        place.update(shard=self._number, at=[*at, self._shard.end], sizes=pack_sizes(frame_sizes(parts["mjpeg"])))
        return place

    def _moved(self, place: Mapping[str, Any], stale: set[int]) -> dict[str, Any]:
        """Copies the members of a window out of a stale shard."""
        if place["shard"] not in stale:
            return dict(place)
        if self._count >= self.shard_clips:
            self._next_shard()
        first, last = place["at"][0], place["at"][-1]
        shift = self._shard.end - first
        with open(self.root / shard_name(place["shard"]), "rb") as shard:
            shard.seek(first)
            self._shard.add(shard.read(last - first))
        self._count += 1
        return {**place, "shard": self._number, "at": [at + shift for at in place["at"]]}

    def _commit(self, record: dict[str, Any]) -> None:
        self._index.add(_line(record))
        self._end = self._shard.end
        self.records[record["clip"]["source"]] = record


class _Appended:
    """A file that only grows, from a known end on; what lies beyond that is cut off."""

    def __init__(self, path: Path, end: int) -> None:
        self.path, self.end = path, end
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.cut(end)

    def add(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = os.pwrite(self._file, rest, self.end)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from None
            rest = rest[written:]
            self.end += written

    def cut(self, end: int) -> None:
        os.ftruncate(self._file, end)
        self.end = end

    def close(self) -> None:
        os.close(self._file)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
