"""Codec parity of a data set: the audio of every clip passes one chain.

The new root holds the clips under their old names, as MP4, or as WAV if there is no video. Its folder `.parity` has a
small JSON file per clip that records how it was made. Any number of jobs may work on one root, and each may be stopped
at any time.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from avdfd.config import ChainConfig
from avdfd.core.clips import is_audio
from avdfd.core.files import write_atomic
from avdfd.core.journal import SETTINGS, RecordFiles, claim, refuse_changes, refuse_overlap
from avdfd.core.leftovers import sweep
from avdfd.elements.form import encode_wav
from avdfd.media.audio import read_audio
from avdfd.media.chain import Edges, Version, lay_out, measure_version, normalise_version
from avdfd.media.codecs import random_round_trip
from avdfd.media.remux import replace_audio, video_end
from avdfd.media.streams import Reading, has_video

FORM = 1  # version of the chain's code: counts as a setting


class Task(NamedTuple):
    """A clip to be made: its file, the new file, and the edges and band that all versions of its recording share."""

    path: Path
    out: Path
    source: str
    recording: str
    edges: Edges
    band: float
    has_video: bool


class Record(NamedTuple):
    """State of a clip: the recording that it is a version of, size and modification time (ns) of its file; then, as far
    as known, its measurements, the edges and band that it was made with, the size of the new file, or the problem, and
    whether it has video."""

    recording: str
    stamp: tuple[int, int]
    version: Version | None = None
    edges: Edges | None = None
    band: float | None = None
    size: int | None = None
    problem: str = ""
    stopped_after: float | None = None
    has_video: bool | None = None

    @property
    def refused(self) -> bool:
        """True for a clip that can be measured and was not to be made, as `problem` says."""
        return self.version is not None and self.edges is None and self.problem != ""


class Measured(NamedTuple):
    """Result of `measure`."""

    version: Version
    has_video: bool


def measure(path: Path, chain: ChainConfig) -> Measured:
    """Measure a clip, for all versions of its recording. Runs in a worker. Raises MediaError."""
    shown = has_video(path)
    return Measured(measure_version(_read(path, chain, Reading(), shown), chain), shown)


def make(task: Task, chain: ChainConfig) -> int:
    """Write a clip and return its size in bytes. Runs in a worker. Raises MediaError, and OSError on a full disk."""
    reading = Reading()
    samples = _read(task.path, chain, reading, task.has_video)
    samples = normalise_version(samples, task.edges, task.band, task.recording, chain, trim=not task.has_video)
    name = f"{task.source}, draw {chain.draw}" if chain.draw else task.source
    samples = random_round_trip(chain.codecs, samples, chain.rate, name)
    if task.has_video:
        replace_audio(task.path, samples, task.out, chain, reading)
    else:
        write_atomic(task.out, encode_wav(samples, chain.rate))
    return task.out.stat().st_size


def _read(path: Path, chain: ChainConfig, reading: Reading, has_video: bool) -> np.ndarray:
    pieces = read_audio(path, video=has_video, reading=reading)
    return lay_out(pieces, float(video_end(path)) if has_video else pieces[-1].end, chain)


def made_name(source: str, has_video: bool | None) -> str:
    """Return the path of the new clip, relative to the new root; of one that is not measured, by its suffix."""
    audio = is_audio(source) if has_video is None else not has_video
    return PurePosixPath(source).with_suffix(".wav" if audio else ".mp4").as_posix()


class ParityRoot:
    """A new root and its records; created if it is missing.

    Raises UserError if it lies within the input or contains it, holds other files, was made with other settings or
    cannot be written to.
    """

    def __init__(self, root: Path, source_root: Path, chain: ChainConfig) -> None:
        refuse_overlap(root, source_root)
        self.root, self.state = root, root / ".parity"
        self.lock = self.state / "lock"
        self._records = RecordFiles(self.state)
        settings = {"form": FORM, **chain.model_dump(mode="json")}
        found = claim(root, self.state / SETTINGS, settings, holds="clips of codec parity")
        found = {**ChainConfig().model_dump(mode="json"), **found}  # earlier versions did not know all of them
        before, now = ({f"chain.{key}": value for key, value in some.items()} for some in (found, settings))
        refuse_changes(root, before, now)

    def out(self, source: str, record: Record) -> Path:
        """Return the path of the new clip of a source."""
        return self.root / made_name(source, record.has_video)

    def sources(self) -> Iterator[str]:
        """Iterate over all clips that have a record."""
        return iter(self._records)

    def read(self, source: str) -> Record | None:
        """Return the record of a clip, or None."""
        values = self._records.read(source)
        if values is None:
            return None
        version, edges = values["version"], values["edges"]
        values["stamp"] = tuple(values["stamp"])
        values["version"] = version and Version(*version)
        values["edges"] = edges and Edges(*edges)
        values.setdefault("has_video", not is_audio(source))  # earlier versions took the suffix for it
        return Record(**values)

    def write(self, source: str, record: Record) -> None:
        """Write the record of a clip. A clip with a problem has no file, nor one that a former record speaks of."""
        former = self.read(source)
        if former and (record.problem or self.out(source, former) != self.out(source, record)):
            self.out(source, former).unlink(missing_ok=True)
        self._records.write(source, record._asdict())

    def drop(self, source: str) -> None:
        """Remove a clip and its record."""
        if former := self.read(source):
            self.out(source, former).unlink(missing_ok=True)
        self._records.remove(source)

    def is_made(self, source: str, record: Record) -> bool:
        """Return True if the file that a record describes exists."""
        out = self.out(source, record)
        return record.size is not None and out.is_file() and out.stat().st_size == record.size

    def sweep(self, sources: Iterable[str]) -> None:
        """Remove the temporary files that killed runs left behind, where these clips are."""
        folders = {path.parent for source in sources for path in (self.root / source, self._records.path(source))}
        for folder in filter(Path.is_dir, folders):
            sweep(folder)
