"""Local HTTP server of a folder, with ranges and with the faults that a test asks for."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.helpers.serving import serving


@dataclass
class FileServer:
    """Content and behaviour of the server, and a log of its requests."""

    folder: Path
    ranges: bool = True
    """False for a server that sends whole files only."""
    cut: int = 0
    """Answers to come that end in the middle of the body."""
    status: dict[str, int] = field(default_factory=dict)
    """HTTP status by name of a file, in place of its content."""
    redirect: str = ""
    """Address of another folder that all requests are redirected to."""
    close: bool = False
    """True to close each connection after an answer, without saying so."""
    log: list[tuple[str, str | None]] = field(default_factory=list)
    """File and range of the requests."""
    connections: int = 0
    url: str = ""


@contextmanager
def serve(served: FileServer) -> Iterator[FileServer]:
    """Serve on a free port of this machine and set the `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            served.connections += 1

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            served.log.append((name, self.headers.get("Range")))
            if served.redirect:
                self.answer(302, headers={"Location": f"{served.redirect}/{name}"})
                return
            path = served.folder / name
            status = served.status.get(name, 0 if path.is_file() else 404)
            if status:
                self.answer(status)
                return
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if served.ranges else None
            size = path.stat().st_size
            if asked is None:
                self.answer(200, path.read_bytes())
                return
            first, last = int(asked[1]), min(int(asked[2]), size - 1)
            if first >= size:
                self.answer(416, headers={"Content-Range": f"bytes */{size}"})
                return
            with path.open("rb") as file:
                file.seek(first)
                data = file.read(last - first + 1)
            self.answer(206, data, {"Content-Range": f"bytes {first}-{last}/{size}"})

        def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            is_cut = served.cut > 0 and len(body) > 1000
            served.cut -= is_cut
            with suppress(ConnectionError):  # the client may have closed the connection
                self.wfile.write(body[: len(body) // 2] if is_cut else body)
            if is_cut or served.close:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        served.url = url + "/store"
        yield served
