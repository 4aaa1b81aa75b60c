"""Writer of element stores: append-only, and consistent after any interruption."""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from avdfd.core.checksums import checksum
from avdfd.core.files import locked
from avdfd.core.journal import AppendedFile, Journal, Record, claim, refuse_changes
from avdfd.core.shards import Shard
from avdfd.core.tree import leads_out
from avdfd.elements.form import LANDMARKS, MEMBERS, data_size, decode_array, encode_meta, frame_sizes, meta_of
from avdfd.elements.index import forget_index, pack_numbers
from avdfd.elements.layout import LATER, STORE, journal_name, lock_name, shard_name
from avdfd.elements.verify import damages, is_ended
from avdfd.features.window import frames_of


class ElementWriter:
    """Context manager that adds clips to a part of a store, and makes the store if there is none.

    A clip is in the store once its line is in the journal, which is written after its data. Data without a line, left
    by an interruption, is cut off when the part is next opened; so clips that are added in the order of their sources
    give byte-identical files, interrupted or not. Raises UserError if the folder is no store and not empty, if the
    store has other settings or another number of parts, or if another run is writing to the part.
    """

    def __init__(
        self, root: str | Path, settings: Mapping[str, Any], shard_clips: int = 256, part: Shard | None = None
    ) -> None:
        self.root = Path(root)
        self.settings = dict(settings)
        self.version = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:12]
        self.shard_clips = shard_clips
        self.part = part or Shard()

    def __enter__(self) -> "ElementWriter":
        self._claim()
        with ExitStack() as stack:
            stack.enter_context(locked(self.root / lock_name(self.part.number), self.root))
            forget_index(self.root)
            journal = self.root / journal_name(self.part.number)
            self.records = stack.enter_context(Journal(journal, append=True, sums=True))
            self._find_end()
            self._open_shard()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            try:
                self._shard.cut(self._ends.get(self._number, 0))
                if kind is None:
                    self._finish_shard()
                    self.records.compact()
            finally:
                self._shard.close()

    def add(self, clip: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], **facts: Any) -> None:
        """Add a clip with its windows, or replace it.

        `clip` has the fields of `ClipMeta`, and may have more for its record. A window has `start`, `end` and `parts`
        (suffix -> bytes of the member), and may have `face`: facts about the face that it shows. `facts` are stored in
        the record. Without windows, only the record is stored, which tells later runs that the clip was processed.
        Raises ValueError for a source whose members would be unpacked elsewhere: an absolute path, or one with "..".
        """
        if leads_out(clip["source"]):
            raise ValueError(f"{clip['source']!r}: the source of a clip is a path below its root")
        if clip["source"] in self.records:
            self.drop([clip["source"]])
        places = [self._append(clip, window) for window in windows]
        self._commit(_record(clip, places, facts))

    def drop_damaged(self) -> list[str]:
        """Remove the clips whose lines or data are damaged, to be redone; return a line for each damage.

        Reads all data of the part.
        """
        found = [*damages(self.root, self.part.number, self.records)]
        self.drop({damage.source for damage in found})
        return [*self.records.damaged, *map(str, found)]

    def drop(self, sources: Iterable[str]) -> None:
        """Remove clips, and rewrite the shards that had them, so that no shard has stale members."""
        gone = set(sources)
        stale = {w["shard"] for source in gone for w in self.records[source]["windows"]} | self._stale
        self._stale.clear()
        if stale:
            self._next_shard()
        for source in [*self.records] if stale else []:
            record = self.records[source]
            if source not in gone and any(w["shard"] in stale for w in record["windows"]):
                clip, windows = record.pop("clip"), record.pop("windows")
                self._commit(_record(clip, [self._moved(w, stale) for w in windows], record))
        for source in sorted(gone):
            self.records.remove(source)
        for number in stale:
            (self.root / shard_name(self.part.number, number)).unlink()
            del self._ends[number]

    def size(self) -> int:
        """Return the size of the part's shards in bytes."""
        return sum(self._ends.values())

    def _claim(self) -> None:
        """Make the store, or check that the existing one has the same settings."""
        about = {"version": self.version, "parts": self.part.of, "settings": self.settings}
        found = claim(self.root, self.root / STORE, about, holds="element store")
        before = {**found["settings"], "parts": found["parts"]}
        refuse_changes(self.root, before, {**self.settings, "parts": self.part.of}, LATER)

    def _find_end(self) -> None:
        """Find the end of each shard and the last shard, and delete later shards.

        A clip with missing data, as after a power failure, counts as not done.
        """
        prefix = shard_name(self.part.number, 0)[: -len("00000.tar")]
        files = {int(path.stem[len(prefix) :]): path for path in self.root.glob(f"{prefix}*.tar")}
        sizes = {number: path.stat().st_size for number, path in files.items()}
        self._ends: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        filled: dict[int, int] = {}
        self._stale: set[int] = set()
        """Shards with members of lost records, or with a damaged end."""
        for source in [*self.records]:
            windows = self.records[source]["windows"]
            if any(sizes.get(w["shard"], 0) < w["at"][-1] for w in windows):
                self.records.forget(source)
                continue
            for w in windows:
                self._ends[w["shard"]] = max(self._ends.get(w["shard"], 0), w["at"][-1])
                self._counts[w["shard"]] = self._counts.get(w["shard"], 0) + 1
                filled[w["shard"]] = filled.get(w["shard"], 0) + w["at"][-1] - w["at"][0]
        self._number = max(self._ends, default=0)
        for number, end in self._ends.items():
            if filled[number] != end or (number != self._number and not is_ended(files[number], end)):
                self._stale.add(number)
        for number, path in files.items():
            if number not in self._ends and number != self._number:
                path.unlink()

    def _open_shard(self) -> None:
        path = self.root / shard_name(self.part.number, self._number)
        self._count = self._counts.get(self._number, 0)
        self._shard = AppendedFile(path, self._ends.setdefault(self._number, 0))

    def _finish_shard(self) -> None:
        self._shard.add(bytes(2 * tarfile.BLOCKSIZE))  # end marker of a tar archive

    def _next_shard(self) -> None:
        self._finish_shard()
        self._shard.close()
        self._number += 1
        self._open_shard()

    def _append(self, clip: Mapping[str, Any], window: Mapping[str, Any]) -> dict[str, Any]:
        """Write the members of a window; return its key, times and byte offsets."""
        if self._count >= self.shard_clips:
            self._next_shard()
        place = {
            "key": f"{clip['source'].replace('.', '_')}/{round(window['start'] * 1000):06d}",
            "start": window["start"],
            "end": window["end"],
        }
        face = window.get("face")
        parts = {"json": encode_meta(meta_of(clip, place, self.version), face), **window["parts"]}
        if face is not None:
            place["face"] = face
        seconds = window["end"] - window["start"]
        first, written = self._shard.end, list[bytes]()
        found: dict[str, tuple[int, int]] = {}
        for suffix, data in parts.items():
            header = tarfile.TarInfo(f"{place['key']}.{suffix}")
            header.size = len(data)
            written += [header.tobuf(tarfile.PAX_FORMAT), data + bytes(-len(data) % tarfile.BLOCKSIZE)]
            self._shard.add(written[-2])
            if suffix in (*MEMBERS, LANDMARKS):
                size = data_size(suffix, seconds) or len(data)
                found[suffix] = self._shard.end + len(data) - size, checksum(data[-size:])
            self._shard.add(written[-1])
        self._count += 1
        sizes = frame_sizes(parts["mjpeg"]) if "mjpeg" in parts else []
        assert len(sizes) in (0, frames_of(seconds)), f"{len(sizes)} frames in {seconds} s"
        if LANDMARKS in found:
            assert len(decode_array(parts[LANDMARKS])) == frames_of(seconds), (
                f"landmarks of another length than {seconds} s"
            )
            place[LANDMARKS] = [*found[LANDMARKS]]
        offsets, sums = zip(*(found.get(suffix, (-1, 0)) for suffix in MEMBERS), strict=True)
        at = [first, *offsets, self._shard.end]
        ends = zip(sizes, accumulate(sizes), strict=True)
        frames = [checksum(parts["mjpeg"][end - size : end]) for size, end in ends]
        known = [checksum(b"".join(written)), *sums, *frames]
        numbers = {"sizes": pack_numbers(sizes), "sums": pack_numbers(known)}
        return {**place, "shard": self._number, "at": at, **numbers}

    def _moved(self, place: Mapping[str, Any], stale: set[int]) -> dict[str, Any]:
        """Copy the members of a window out of a stale shard; return its new place."""
        if place["shard"] not in stale:
            return dict(place)
        if self._count >= self.shard_clips:
            self._next_shard()
        first, last = place["at"][0], place["at"][-1]
        shift = self._shard.end - first
        with open(self.root / shard_name(self.part.number, place["shard"]), "rb") as shard:
            shard.seek(first)
            self._shard.add(shard.read(last - first))
        self._count += 1
        at = [offset + shift if offset >= 0 else offset for offset in place["at"]]
        landmarks = {name: [place[name][0] + shift, place[name][1]] for name in (LANDMARKS,) if name in place}
        return {**place, **landmarks, "shard": self._number, "at": at}

    def _commit(self, record: Record) -> None:
        self.records.add(record)
        self._ends[self._number] = self._shard.end


def _record(clip: Mapping[str, Any], windows: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> Record:
    return {"clip": {"source": clip["source"], **clip}, "windows": [*windows], **facts}
