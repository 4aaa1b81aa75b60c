"""Local fake of the Hugging Face hub: one data set, its storage, and their possible faults."""

import hashlib
import io
import json
import socket
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tests.helpers.serving import serving

REPO = "someone/voxceleb2"


@dataclass
class Fault:
    """Fault in the answer to one request."""

    status: int = 0
    """HTTP status of the answer; 0 for the regular one."""
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    """Number of bytes of the body after which the connection is closed."""
    body: bytes = b""


@dataclass
class FakeHub:
    """Content and behaviour of the fake hub, and a log of its requests."""

    files: dict[str, bytes]
    page: int = 1000
    """Files per page of the list."""
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """False entries of files in the list."""
    more_entries: list[Any] = field(default_factory=list)
    """Further entries of each page of the list."""
    endless: bool = False
    """True if every page of the list names another one."""
    trickle: str = ""
    """"headers" or "body" if that arrives at about 200 bytes per second, without an end."""
    redirect: str = ""
    """Address that the storage redirects to."""
    ranges: bool = True
    chunked: bool = False
    """True if answers have no Content-Length."""
    moved: bool = False
    """True if the data set was renamed and its old addresses redirect."""
    api_faults: list[Fault] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """Faults of the next requests to the storage, one each."""
    log: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Path and headers of the requests."""
    url: str = ""

    def fetched(self) -> list[tuple[str, str | None]]:
        """Return file and range of the requests to the storage."""
        return [(path[9:], headers.get("Range")) for path, headers in self.log if path.startswith("/storage/")]


def members(identities: list[str], clips: int, size: int = 3000, seed: int = 0) -> dict[str, bytes]:
    """Return clips with random content, each with its .cls file as in the data set; identities alternate."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(clips):
        place = number % len(identities)
        key = f"{identities[place]}/vid_{seed}-{number % 3}/{number:05d}"
        found[f"{key}.cls"] = str(place).encode()
        found[f"{key}.m4a"] = rng.bytes(int(rng.integers(size // 2, size * 2)))
    return found


def tar(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return a tar of file contents and ready members."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve the fake hub on a free port and set its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            hub.log.append((unquote(address.path), dict(self.headers)))
            if hub.moved and f"/{REPO}/" in self.path:
                self.answer(307, {"Location": self.path.replace(REPO, "someone/renamed")})
                return
            name = "someone/renamed" if hub.moved else REPO
            if address.path.startswith(f"/api/datasets/{name}/tree/main"):
                self.list_files(parse_qs(address.query))
            elif address.path.startswith(f"/datasets/{name}/resolve/main/"):
                path = address.path.split("/resolve/main/")[1]
                # Another origin than 127.0.0.1, like the storage of the real hub.
                location = f"http://localhost:{urlsplit(hub.url).port}/storage/{path}?signature=s"
                self.answer(302, {"Location": hub.redirect or location})
            elif address.path.startswith("/storage/") and unquote(address.path[9:]) in hub.files:
                self.send_file(hub.files[unquote(address.path[9:])])
            else:
                self.answer(404, {})

        def list_files(self, query: dict[str, list[str]]) -> None:
            if hub.api_faults:
                fault = hub.api_faults.pop(0)
                self.answer(fault.status, fault.headers, fault.body, fault.drop_after)
                return
            start = int(query.get("cursor", ["0"])[0])
            entries: list[dict[str, Any]] = [{"type": "directory", "oid": "0", "size": 0, "path": "data.tar"}]
            for path, data in list(hub.files.items())[start : start + hub.page]:
                lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
                entry = {"type": "file", "oid": "1", "size": len(data), "path": path, "lfs": lfs}
                entries.append({**entry, **hub.listed.get(path, {})})
            entries += hub.more_entries
            headers = {}
            if start + hub.page < len(hub.files) or hub.endless:
                query_of_next = f"recursive=true&cursor={start + hub.page}"
                headers["Link"] = (
                    f'<https://original.invalid/api/datasets/{REPO}/tree/main?{query_of_next}>; rel="next"'
                )
            self.answer(200, headers, json.dumps(entries).encode())

        def send_file(self, data: bytes) -> None:
            fault = hub.faults.pop(0) if hub.faults else Fault()
            if fault.status:
                self.answer(fault.status, fault.headers, fault.body)
                return
            asked = self.headers.get("Range") if hub.ranges else None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if asked and start >= len(data):
                self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
            elif asked:
                span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **fault.headers}
                self.answer(206, span, data[start:], fault.drop_after)
            else:
                self.answer(200, fault.headers, data, fault.drop_after)

        def answer(
            self, status: int, headers: Mapping[str, str], body: bytes = b"", drop_after: int | None = None
        ) -> None:
            if hub.trickle and status in (200, 206):
                self.drip()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if hub.chunked and status == 200 and drop_after is None and not self.path.startswith("/api/"):
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the client may have closed the connection
                self.wfile.write(body if drop_after is None else body[:drop_after])
            if drop_after is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def drip(self) -> None:
            self.close_connection = True
            start = b"HTTP/1.1 200 OK\r\n"
            with suppress(ConnectionError):
                self.wfile.write(start if hub.trickle == "headers" else start + b"Connection: close\r\n\r\n")
                while True:
                    self.wfile.write(b"X: y\r\n" if hub.trickle == "headers" else b"   ")
                    time.sleep(0.03 if hub.trickle == "headers" else 0.015)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        hub.url = url
        yield hub
