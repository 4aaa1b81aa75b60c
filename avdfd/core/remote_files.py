"""Files in a folder that is a URL, by positioned reads: http and https directly, object storage through fsspec.

    https://host/folder   http://host/folder   s3://bucket/folder   gs://bucket/folder   az://container/folder   file:///folder

Every read has a time-out, a few further tries, and as many bytes as were asked for at most. Objects can be used in
forked or spawned processes, each of which opens connections of its own.
"""

import errno
import http.client
import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

from avdfd.core.connection import NETWORK, Http, Https, Pace
from avdfd.core.errors import UserError, WorkError

PROTOCOLS = {"http": "", "https": "", "file": "", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs",
             "abfs": "adlfs"}  # fmt: skip
"""Protocols of URLs, and the package that fsspec needs for each."""
NEAR = 1 << 19
"""Bytes between two ranges up to which one request reads both: at 100 MB/s they take 5 ms, less than a request."""

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_SECONDS = 20.0
_WAITS = (0.0, 1.0, 4.0)
"""Seconds before each further try. The first comes at once: a server may have closed an idle connection."""
_REDIRECTS = 3
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_DRIVERS = {"aiohttp", "aiobotocore", "botocore", "gcsfs", "google", "azure", "adlfs"}
"""Packages of fsspec's drivers, whose errors are those of a connection or of its permissions."""


class _UnusableError(Exception):
    """An answer that another try will not change; the message says what is wrong with it."""


class RemoteFiles(Protocol):
    """Files of a folder. Both methods raise FileNotFoundError if there is no such file, and WorkError, whose message
    names its URL, if it cannot be read."""

    url: str

    @abstractmethod
    def read(self, name: str, start: int, count: int) -> bytes:
        """Return `count` bytes from `start` on, no fewer."""

    @abstractmethod
    def head(self, name: str, most: int) -> bytes:
        """Return a small file, of `most` bytes at most."""


def is_url(path: object) -> bool:
    """Return True for a URL, False for a path of this machine."""
    return isinstance(path, str) and _URL.match(path) is not None


def open_url_folder(url: str) -> RemoteFiles:
    """Return the files of a folder. Raises UserError for a URL that cannot be one, or has a password in it."""
    parts = urlsplit(url)
    if parts.scheme not in PROTOCOLS:
        raise UserError(f"{url}: reads {', '.join(f'{name}://' for name in PROTOCOLS)}; stage it with another program")
    if parts.username is not None or parts.password is not None:
        place = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise UserError(f"{place}: a URL is saved with every run: leave user and password out of it")
    if parts.query or parts.fragment or "::" in url or not (parts.netloc or parts.scheme == "file"):
        raise UserError(f"{url}: name a folder, as in https://host/folder, without a query")
    return _HttpFiles(url) if parts.scheme in ("http", "https") else _StoredFiles(url)


def read_ranges(files: RemoteFiles, name: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
    """Return the bytes of ranges (start, count) of a file, in this order; ranges near each other in one request."""
    found: dict[int, memoryview] = {}
    order = sorted(range(len(ranges)), key=lambda i: ranges[i])
    while order:
        first = last = ranges[order[0]][0]
        group = []
        while order and ranges[order[0]][0] - last <= NEAR:
            group.append(order.pop(0))
            last = max(last, sum(ranges[group[-1]]))
        data = memoryview(files.read(name, first, last - first))
        found |= {i: data[ranges[i][0] - first :][: ranges[i][1]] for i in group}
    return [found[i] for i in range(len(ranges))]


class _HttpFiles:
    """Files of a server that answers requests for ranges, over connections that stay open."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, name: str, start: int, count: int) -> bytes:
        def once() -> bytes:
            response = self._get(self._address(name), f"bytes={start}-{start + count - 1}")
            if response.status == 416:
                raise _UnusableError(f"has fewer than {start + count} bytes")
            if response.status == 200:
                raise _UnusableError(
                    "the server sends the whole file when asked for a part (no HTTP ranges): use a server that has "
                    "them, as nginx or object storage, or stage the store"
                )
            said = response.headers.get("Content-Range", "")
            if response.status == 206 and not said.startswith(f"bytes {start}-{start + count - 1}/"):
                raise _UnusableError(
                    f"the server sends {said or 'no Content-Range'} when asked for {count} bytes at {start}"
                )
            return _body(response, count, whole=True)

        return self._tried(name, once)

    def head(self, name: str, most: int) -> bytes:
        return self._tried(name, lambda: _body(self._get(self._address(name), None), most, whole=False))

    def _address(self, name: str) -> str:
        return f"{self.url}/{quote(name)}"

    def _tried(self, name: str, once: Callable[[], bytes]) -> bytes:
        for wait in (*_WAITS, None):
            try:
                return once()
            except FileNotFoundError:
                self._close()
                raise
            except _UnusableError as error:
                self._close()
                raise WorkError(f"{self._address(name)}: {error}") from None
            except NETWORK as error:
                self._close()
                if wait is None:
                    raise WorkError(f"{self._address(name)}: cannot be read ({_reason(error)}); run it again") from None
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _get(self, url: str, span: str | None) -> http.client.HTTPResponse:
        """Return an answer with content. Raises FileNotFoundError, _UnusableError, or an error of NETWORK."""
        headers = {"Accept-Encoding": "identity"} | ({} if span is None else {"Range": span})
        for _ in range(1 + _REDIRECTS):
            parts = urlsplit(url)
            connection = self._connection(parts.scheme, parts.netloc)
            connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/", headers=headers)
            response = connection.getresponse()
            if response.status in (404, 410):
                raise FileNotFoundError(url)
            if response.status in _TRY_AGAIN:
                raise http.client.HTTPException(f"HTTP {response.status}")
            if response.status in (200, 206, 416):
                return response
            if response.status not in (301, 302, 303, 307, 308):
                raise _UnusableError(f"the server answers HTTP {response.status} {response.reason}")
            self._close()
            url = urljoin(url, response.headers.get("Location", ""))
            if urlsplit(url).scheme != parts.scheme:
                raise _UnusableError(f"the server redirects to {urlsplit(url).scheme or 'nothing'}, not {parts.scheme}")
        raise _UnusableError("the server redirects again and again")

    def _connection(self, scheme: str, place: str) -> http.client.HTTPConnection:
        if self._process != os.getpid():  # those of the process that this one was forked from are in use there
            self._connections, self._process = {}, os.getpid()
        kind = Https if scheme == "https" else Http
        return self._connections.setdefault((scheme, place), kind(place, timeout=_SECONDS))

    def _close(self) -> None:
        while self._connections:
            self._connections.popitem()[1].close()


class _StoredFiles:
    """Files of an object storage through fsspec, whose drivers know their own credentials (environment, files)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._process = 0
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, name: str, start: int, count: int) -> bytes:
        data = self._tried(name, start, start + count)
        if len(data) != count:
            raise WorkError(f"{self.url}/{name}: has {len(data)} bytes at {start} in place of {count}")
        return data

    def head(self, name: str, most: int) -> bytes:
        data = self._tried(name, 0, most + 1)
        if len(data) > most:
            raise WorkError(f"{self.url}/{name}: has more than {most} bytes")
        return data

    def _tried(self, name: str, start: int, end: int) -> bytes:
        url = f"{self.url}/{name}"
        for wait in (*_WAITS, None):
            try:
                return self._system().cat_file(url, start=start, end=end)
            except FileNotFoundError:
                raise
            except Exception as error:
                if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _DRIVERS:
                    raise
                if isinstance(error, OSError) and error.errno == errno.EINVAL:  # what s3fs makes of HTTP 416
                    raise WorkError(
                        f"{url}: the server refuses bytes {start} to {end} ({_reason(error)}): is the file whole there?"
                    ) from None
                if wait is None or isinstance(error, PermissionError | IsADirectoryError):
                    raise WorkError(f"{url}: cannot be read ({_reason(error)}); run it again") from None
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _system(self) -> Any:
        if self._process != os.getpid():
            import fsspec  # takes time, and most stores are folders

            protocol = urlsplit(self.url).scheme
            try:
                # Its cache of instances would hand a forked process the connections of its parent.
                self._opened = fsspec.filesystem(protocol, skip_instance_cache=True)
            except ImportError:
                package = PROTOCOLS[protocol]
                raise UserError(
                    f"{self.url}: {protocol}:// needs the package {package}: .venv/bin/pip install {package}"
                ) from None
            self._process = os.getpid()
        return self._opened


def _body(response: http.client.HTTPResponse, count: int, *, whole: bool) -> bytes:
    """Return the body of an answer: `count` bytes if it has to be `whole`, otherwise up to as many."""
    pace, blocks, left = Pace(_SECONDS), [], count
    while left and (block := pace.read(response, left)):
        blocks.append(block)
        left -= len(block)
    if left and (whole or response.length):
        raise http.client.IncompleteRead(b"", left if whole else response.length)
    if response.read(1):
        raise _UnusableError(f"the server sends more than the {count} bytes that it may")
    return b"".join(blocks)


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"the answer ends {error.expected} bytes too early"
    if isinstance(error, TimeoutError):
        return str(error) or f"no answer in {_SECONDS:g} s"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__
