"""Shards of a data set on the Hugging Face hub: their list, and each as one stream that survives broken connections.

A shard is read completely, including unwanted members: a member has 75 kB on average, less than a connection delivers
in the time of a request, and the hub limits requests. (A shard of 1,400 such clips, a twelfth of them wanted: 1 s in
one stream; 62 s with ranged requests for each header and wanted clip, at a round trip of 20 ms.) Ranges are used to
resume after a broken connection or a killed run.

References: https://huggingface.co/docs/hub/webdataset, https://huggingface.co/docs/hub/rate-limits (RateLimit header).
"""

import email.utils
import hashlib
import http.client
import random
import re
import tarfile
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from itertools import count
from typing import TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import Request

from avdfd.core.connection import NETWORK, Pace, open_url, read_page
from avdfd.core.errors import UserError
from avdfd.corpora.voxceleb.listing import Shard, read_entries

T = TypeVar("T")

_BLOCK = 1 << 16
_LONGEST_WAIT = 600.0  # the hub counts requests over windows of 300 s
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_PAGES = 1000


class DownloadError(Exception):
    """A file that could not be fetched completely; the message is the reason. `status` is the HTTP status, if any."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub, or on a server with the same interface."""

    repo: str
    revision: str = "main"
    base_url: str = "https://huggingface.co"
    token: str | None = field(default=None, repr=False)
    timeout: float = 30
    retries: int = 8
    """Number of retries in a row, with waits that double from 1 s to 60 s."""
    sleep: Callable[[float], None] = time.sleep

    list_seconds: float = 1800
    """Most seconds that the list of files may take, retries included."""

    def shards(self, on_refused: Callable[[str, str], None] = lambda path, reason: None) -> list[Shard]:
        """Return the tar files of the data set, in order of their path.

        `on_refused` is called with path and reason of each entry that is not valid; the others count. Raises UserError
        if the data set is missing, may not be read with this token, or has no tar file; DownloadError if the server
        does not answer, or with too much.
        """
        tree = f"{self.base_url}/api/datasets/{self.repo}/tree/{quote(self.revision, safe='')}"
        found: dict[str, Shard] = {}
        query, seen = "recursive=true", set[str]()
        started = time.monotonic()
        while query and query not in seen:
            seen.add(query)
            if len(seen) > _PAGES or time.monotonic() - started > self.list_seconds:
                raise DownloadError(f"the list of files does not end: {len(seen) - 1} pages so far")
            try:
                page, link = self.request(f"{tree}?{query}", self._page)
                shards, refused = read_entries(page)
            except DownloadError as error:
                if error.status is None or error.status in _PASSING:
                    raise
                raise UserError(
                    f"{self.base_url}: data set {self.repo} at {self.revision}: {error}; check --repo and --revision"
                ) from None
            except ValueError:
                raise UserError(
                    f"{self.base_url}: does not answer with a list of files; check --base-url and the proxy"
                ) from None
            for path, reason in refused:
                on_refused(path, reason)
            found |= {shard.path: shard for shard in shards}
            # Only the query of the next page's address is used: a mirror returns the address of the original server.
            following = re.search(r'<([^>]*)>\s*;\s*rel="next"', link)
            query = urlsplit(following[1]).query if following else ""
        if not found:
            raise UserError(f"{self.base_url}: data set {self.repo} at {self.revision} has no .tar file; check --repo")
        return sorted(found.values())

    def _page(self, response: http.client.HTTPResponse) -> tuple[bytes, str]:
        with response:
            return read_page(response, self.pace()), response.headers.get("Link", "")

    def pace(self) -> Pace:
        """Return the measure of a new connection."""
        return Pace(self.timeout)

    def open_shard(self, path: str, start: int) -> http.client.HTTPResponse:
        """Return the response with a file from byte `start` on, or with all of it if the server has no ranges."""
        address = f"{self.base_url}/datasets/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(path)}"
        return self.request(address, lambda response: response, start)

    def request(self, url: str, use: Callable[[http.client.HTTPResponse], T], start: int = 0) -> T:
        """Return `use(response)`, with retries.

        Raises UserError if the server denies access, DownloadError for other errors or if all attempts fail.
        """
        for attempt in count(1):
            asked = None
            try:
                return use(open_url(self._request(url, start), self.timeout))
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (401, 403):
                    raise UserError(self._no_access(error.code)) from None
                if error.code not in _PASSING:
                    raise DownloadError(f"HTTP {error.code} {error.reason}", error.code) from None
                reason, status, asked = f"HTTP {error.code}", error.code, wait_asked(error.headers)
            except NETWORK as error:
                reason, status = _describe(error), None
            if attempt > self.retries:
                raise DownloadError(f"{reason} at each of {attempt} attempts", status)
            self.sleep(pause(attempt, asked))
        raise AssertionError  # count() has no end

    def _request(self, url: str, start: int) -> Request:
        request = Request(url, headers={"User-Agent": "avdfd", "Accept-Encoding": "identity"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request

    def _no_access(self, status: int) -> str:
        remedy = "use a token in HF_TOKEN that may read it" if self.token else "set HF_TOKEN if it is private or gated"
        return f"{self.base_url}: no access to data set {self.repo} (HTTP {status}); check --repo, or {remedy}"


def pause(attempt: int, asked: float | None = None) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1), with jitter, as other readers wait too."""
    if asked is not None:
        return min(asked, _LONGEST_WAIT) + random.uniform(0, 1)
    return min(2.0 ** (attempt - 1), 60.0) * random.uniform(0.5, 1)


def wait_asked(headers: Message) -> float | None:
    """Return the seconds in a server's Retry-After (seconds or a date) or RateLimit (`"resolvers";r=0;t=55`)."""
    after = headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(after).timestamp() - time.time())
    except (TypeError, ValueError):
        reset = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
        return float(reset[1]) if reset else None


class ShardStream:
    """Bytes of a shard from `start` on, each once and in order, over as many connections as needed."""

    def __init__(self, hub: Hub, shard: Shard, start: int, on_bytes: Callable[[int], None]) -> None:
        self.hub, self.shard, self.on_bytes = hub, shard, on_bytes
        self.position = start
        self.data_end = start
        """End of the last non-zero byte so far."""
        self._digest = hashlib.sha256() if start == 0 and shard.sha256 else None
        self._response: http.client.HTTPResponse | None = None
        self._pace: Pace
        self._slow = 0
        """Connections in a row that were too slow. One that delivers little before it is closed is no progress."""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end of the shard. Raises DownloadError if all attempts fail."""
        size = min(size, self.shard.size - self.position)
        if size <= 0:
            return b""
        for attempt in count(1):
            reason = "the connection closed"
            try:
                self._response = self._response or self._connect()
                if block := self._pace.read(self._response, size):
                    self._slow = 0 if self._pace.proved else self._slow
                    return self._taken(block)
            except TimeoutError as error:
                self._slow += 1
                attempt, reason = max(attempt, self._slow), _describe(error)
            except NETWORK as error:
                reason = _describe(error)
            self.close()
            if attempt > self.hub.retries:
                raise DownloadError(f"{reason} at byte {self.position} of {self.shard.size}, {attempt} times")
            self.hub.sleep(pause(attempt))
        raise AssertionError  # count() has no end

    def finish(self) -> str:
        """Read the rest and return how the shard was checked. Raises tarfile.TarError if its sha256 differs."""
        while self.read(_BLOCK):
            pass
        if self._digest is None:
            return "size"
        if self._digest.hexdigest() != self.shard.sha256:
            raise tarfile.TarError(f"its sha256 is {self._digest.hexdigest()}, the list says {self.shard.sha256}")
        return "sha256"

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None

    def _connect(self) -> http.client.HTTPResponse:
        self._pace = self.hub.pace()
        try:
            response = self.hub.open_shard(self.shard.path, self.position)
        except DownloadError as error:
            if error.status != 416:
                raise
            raise DownloadError(f"truncated: nothing at byte {self.position} of {self.shard.size}") from None
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status == 206 and (given is None or given[1] != str(self.position)):
            raise DownloadError(f"the server answered with another range than from byte {self.position} on")
        size = given[2] if given else response.headers.get("Content-Length", "*")
        if size != "*" and size != str(self.shard.size):
            raise DownloadError(f"truncated or changed: {size} bytes on the server, {self.shard.size} in its list")
        behind = self.position if response.status != 206 else 0
        while behind:  # a server without ranges: skip the known bytes
            block = self._pace.read(response, min(behind, _BLOCK))
            if not block:
                raise http.client.IncompleteRead(b"")
            behind -= len(block)
        return response

    def _taken(self, block: bytes) -> bytes:
        if end := len(block.rstrip(b"\0")):
            self.data_end = self.position + end
        self.position += len(block)
        if self._digest is not None:
            self._digest.update(block)
        self.on_bytes(len(block))
        return block


def _describe(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__
