"""HTTP connections that end in bounded time and memory, whatever the server sends."""

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

NETWORK = (OSError, http.client.HTTPException)
"""Errors of connections; URLError, resets and time-outs are OSErrors."""
LARGEST_PAGE = 1 << 25
"""Most bytes of a page of the list; one of 1000 entries has 300 kB."""
LEAST_RATE = 1000.0
"""Bytes per second below which a connection is closed: a server that sends a byte now and then never times out."""

_BLOCK = 1 << 16
_HEADERS = 2  # time-outs in which status and headers have to arrive


class Pace:
    """Reads from a connection, and measures the bytes per second over every `seconds` spent waiting for them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.proved = False
        """True once it was fast enough over so many seconds, or had as many bytes as that takes."""
        self._waited = self._bytes = 0.0

    def read(self, response: http.client.HTTPResponse, size: int) -> bytes:
        """Return what arrives next, `size` bytes at most. Raises TimeoutError if the connection is too slow."""
        started = time.monotonic()
        block = response.read1(size)
        self._waited += time.monotonic() - started
        self._bytes += len(block)
        self.proved = self.proved or self._bytes >= LEAST_RATE * self.seconds
        if self._waited >= self.seconds:
            if self._bytes < LEAST_RATE * self._waited:
                raise TimeoutError(f"slower than {LEAST_RATE:.0f} bytes per second")
            self._waited = self._bytes = 0.0
        return block


def read_page(response: http.client.HTTPResponse, pace: Pace) -> bytes:
    """Return the whole body. Raises ValueError if it is too large, TimeoutError if it is too slow."""
    blocks, size, announced = [], 0, response.length
    while (announced is None or size < announced) and (block := pace.read(response, _BLOCK)):
        blocks.append(block)
        size += len(block)
        if size > LARGEST_PAGE:
            raise ValueError(f"a page of more than {LARGEST_PAGE} bytes")
    if announced is not None and size < announced:
        raise http.client.IncompleteRead(b"", announced - size)
    return b"".join(blocks)


def open_url(request: urllib.request.Request, seconds: float) -> http.client.HTTPResponse:
    """Return the response; `seconds` is the time-out of connecting and of each read."""
    return _opener.open(request, timeout=seconds)


class _Ended:
    """Mixin of connections that are closed if status and headers take too long, as a trickle of them may."""

    sock: Any
    _late = False

    def getresponse(self) -> Any:
        timer = threading.Timer(_HEADERS * self.sock.gettimeout(), self._end)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if self._late:  # the closed connection counts as the end of the headers
            response.close()
            raise TimeoutError("the headers take too long")
        return response

    def _end(self) -> None:
        self._late = True
        with suppress(OSError):  # it has ended by itself
            self.sock.shutdown(socket.SHUT_RDWR)


class Http(_Ended, http.client.HTTPConnection):
    pass


class Https(_Ended, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(Http, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(Https, req, context=self._context)  # type: ignore[attr-defined]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to HTTP and HTTPS alone, not from the latter to the former; passes the token on to the same server only.

    The hub redirects to storage that must not receive the token.
    """

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and after != before:
            raise urllib.error.HTTPError(req.full_url, code, f"redirects to {after or 'nothing'}", headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        token = req.unredirected_hdrs.get("Authorization")
        if following is not None and token and _origin(newurl) == _origin(req.full_url):
            following.add_unredirected_header("Authorization", token)
        return following


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url)[:2]


_opener = urllib.request.build_opener(_Redirects, _HttpHandler, _HttpsHandler)
