"""Positioned reads from the shards of a store: in a folder, or at a URL.

Of a store at a URL, store.json and the index are copied once to a folder of this machine and verified. Members are read
from the server when they are wanted, so that the order of training stays a function of seed, epoch and step.
"""

import os
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file, locked, write_atomic
from avdfd.core.remote_files import RemoteFiles, is_url, open_url_folder, read_ranges
from avdfd.elements.index import is_as_noted, read_table
from avdfd.elements.layout import FILES, INDEX, MIN_FAKE, STORE, check_size, folder_of, read_settings, shard_name
from avdfd.elements.table import ElementTable

_OPEN = 128  # maximum number of shards that a process keeps open; a large store has more than the system allows
_LARGEST = 1 << 24  # bytes of a store.json; that of 1000 parts has 60 kB
_BLOCK = 1 << 23
_LOCK = ".fetch.lock"

Place = tuple[int, int]
"""Part and number of a shard, or first byte and number of bytes."""


class Shards(Protocol):
    """The shards of a store. It can be used in forked or spawned processes."""

    folder: Path
    """Folder of the store's small files and caches."""
    remedy: str
    """Advice for damaged data."""

    @abstractmethod
    def table(self) -> ElementTable:
        """Return the metadata of all elements. Raises UserError if the store is damaged or incomplete."""

    @abstractmethod
    def check(self, ends: Iterable[tuple[Place, int]]) -> None:
        """Raise UserError if a shard is missing or ends before its last element, where that can be found out."""

    @abstractmethod
    def read(self, shard: Place, ranges: Sequence[Place]) -> list[np.ndarray]:
        """Return the bytes of some ranges of a shard, in this order.

        Raises UserError if it is missing or too short, and WorkError if it cannot be read.
        """

    @abstractmethod
    def name(self, shard: Place) -> str:
        """Return the path or the URL of a shard."""


def shards_of(elements: str | Path) -> Shards:
    """Return the shards of a store: of a folder, or at a URL. Raises UserError for a URL that cannot be used."""
    return UrlShards(elements) if isinstance(elements, str) and is_url(elements) else FolderShards(Path(elements))


class FolderShards(Shards):
    """Shards of a folder."""

    remedy = "run data/preprocess.py again to restore it"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[Place, int] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.folder,)  # open files belong to their process

    def table(self) -> ElementTable:
        return read_table(self.folder)

    def check(self, ends: Iterable[tuple[Place, int]]) -> None:
        for shard, end in ends:
            check_size(self.folder / shard_name(*shard), end)

    def read(self, shard: Place, ranges: Sequence[Place]) -> list[np.ndarray]:
        file = self._file(shard)
        found = []
        for start, count in ranges:
            data = np.empty(count, np.uint8)
            if os.preadv(file, [data.data], start) != count:
                raise UserError(
                    f"{self.folder}: a shard is shorter than the index says; delete the store and make it again"
                )
            found.append(data)
        return found

    def name(self, shard: Place) -> str:
        return str(self.folder / shard_name(*shard))

    def _file(self, shard: Place) -> int:
        """Return the open file of a shard; with too many open files, the least recently used one is closed."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        try:
            self._open[shard] = os.open(self.name(shard), os.O_RDONLY)
        except FileNotFoundError:
            raise UserError(f"{self.name(shard)}: missing; {self.remedy}") from None
        if len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1])
        return self._open[shard]


class UrlShards(Shards):
    """Shards at a URL."""

    remedy = "what the server has is not what its index says: upload the store again"

    def __init__(self, url: str) -> None:
        self.files = open_url_folder(url)
        self.folder = folder_of(url)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.files.url,)

    def table(self) -> ElementTable:
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / _LOCK, self.folder, wait=True):
            _copy(self.files, self.folder)
            return ElementTable.load(self.folder / INDEX)

    def check(self, ends: Iterable[tuple[Place, int]]) -> None:
        """Check nothing: a request for each shard would take longer than all that a short run reads."""

    def read(self, shard: Place, ranges: Sequence[Place]) -> list[np.ndarray]:
        try:
            found = read_ranges(self.files, shard_name(*shard), ranges)
        except FileNotFoundError:
            raise UserError(f"{self.name(shard)}: missing; {self.remedy}") from None
        return [np.frombuffer(data, np.uint8).copy() for data in found]  # writable, and without the bytes between

    def name(self, shard: Place) -> str:
        return f"{self.files.url}/{shard_name(*shard)}"


def _copy(files: RemoteFiles, folder: Path) -> None:
    """Copy store.json, and the index if the one in the folder is another. Raises UserError for no whole store."""
    url = files.url
    try:
        content = files.head(STORE, _LARGEST)
    except FileNotFoundError:
        raise UserError(f"{url}: no such element store, as it has no {STORE}; upload one that is whole") from None
    write_atomic(folder / STORE, content)
    try:
        about = read_settings(folder)
    except UserError as error:
        raise UserError(f"{url}/{STORE}: {str(error).removeprefix(f'{folder / STORE}: ')}") from None
    noted = about.get(FILES, {})
    if INDEX not in noted:
        raise UserError(f"{url}: has no index yet: run data/preprocess.py to its end, and upload the store again")
    if about["settings"].get(MIN_FAKE):
        raise UserError(f"{url}: was made by an earlier version, whose journals are needed: stage the store")
    index = folder / INDEX
    if index.exists() and is_as_noted(index, noted):
        return
    try:
        with atomic_file(index) as file:
            file.writelines(_blocks(files, INDEX, noted[INDEX][0]))
    except FileNotFoundError:
        raise UserError(f"{url}/{INDEX}: missing; upload the store again") from None
    if not is_as_noted(index, noted):
        index.unlink()
        raise UserError(f"{url}/{INDEX}: its checksum differs from {STORE}; upload the store again")


def _blocks(files: RemoteFiles, name: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, _BLOCK):
        yield files.read(name, start, min(_BLOCK, size - start))
