"""A file of the hub arrives complete, each byte once, despite failures of server and network."""

import email.utils
import hashlib
import json
import random
import socket
import tarfile
import time
from dataclasses import replace
from email.message import Message

import numpy as np
import pytest

from avdfd.core import connection
from avdfd.core.errors import UserError
from avdfd.corpora.voxceleb import download
from avdfd.corpora.voxceleb.download import DownloadError, Hub, ShardStream, pause, wait_asked
from avdfd.corpora.voxceleb.listing import Shard
from tests.helpers.hub import REPO, FakeHub, Fault, serve

DATA = np.random.default_rng(0).bytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def fake():
    with serve(FakeHub({"one.tar": DATA, "README.md": b"text"})) as hub:
        yield hub


def client(fake: FakeHub, **values) -> Hub:
    """Do not wait."""
    return Hub(REPO, base_url=fake.url, **{"sleep": lambda seconds: None, "retries": 3, **values})


def read(hub: Hub, shard: Shard, start: int = 0) -> tuple[bytes, str]:
    """Return the bytes of a shard, and how it was checked."""
    seen: list[int] = []
    stream = ShardStream(hub, shard, start, seen.append)
    blocks = iter(lambda: stream.read(7000), b"")
    data = b"".join(blocks)
    checked = stream.finish()
    stream.close()
    assert sum(seen) == len(data)
    return data, checked


def test_list_spans_pages_with_size_and_sha256(fake):
    fake.files = {"b.tar": b"bb", "a/0.tar": b"a", "c.tar": b"", "notes.txt": b"n"}
    fake.listed = {"c.tar": {"lfs": None}}
    fake.page = 1
    assert client(fake).shards() == [
        Shard("a/0.tar", 1, hashlib.sha256(b"a").hexdigest()),
        Shard("b.tar", 2, hashlib.sha256(b"bb").hexdigest()),
        Shard("c.tar", 0, None),
    ]
    assert len(fake.log) == 4


def test_a_whole_file(fake):
    shard = Shard("one.tar", len(DATA), SHA)
    assert read(client(fake), shard) == (DATA, "sha256")
    assert fake.fetched() == [("one.tar", None)]
    assert read(client(fake), shard._replace(sha256=None)) == (DATA, "size")


@pytest.mark.parametrize("chunked", [False, True])
def test_from_the_middle(fake, chunked):
    fake.chunked = chunked
    assert read(client(fake), Shard("one.tar", len(DATA), SHA), 123_456) == (DATA[123_456:], "size")
    assert fake.fetched() == [("one.tar", "bytes=123456-")]


@pytest.mark.parametrize("ranges", [True, False])
def test_dropped_connections_resume_at_the_break(fake, ranges):
    fake.ranges = ranges
    fake.faults = [Fault(drop_after=n) for n in (0, 1, 70_000, 0, 0, 150_001)]
    assert read(client(fake), Shard("one.tar", len(DATA), SHA)) == (DATA, "sha256")
    assert len(fake.fetched()) == 7
    if ranges:  # only the missing bytes
        starts = [0 if r is None else int(r[6:-1]) for _, r in fake.fetched()]
        assert starts == [0, 0, 1, 70_001, 70_001, 70_001, 220_002]


def test_connection_that_always_drops_ends_in_an_error(fake):
    waits: list[float] = []
    fake.faults = [Fault(drop_after=n) for n in (1000, 0, 0, 0, 0)]
    with pytest.raises(DownloadError, match="at byte 1000 of 300000, 4 times"):
        read(client(fake, sleep=waits.append), Shard("one.tar", len(DATA), SHA))
    assert len(waits) == 3


def test_token_is_sent_to_the_hub_only(fake):
    hub = client(fake, token="hf_secret")
    fake.moved = True  # the token is kept within the hub
    hub.shards()
    read(hub, Shard("one.tar", len(DATA), SHA))
    sent = [(path.split("/")[1], headers.get("Authorization")) for path, headers in fake.log]
    assert sent == [*[("api", "Bearer hf_secret")] * 2, *[("datasets", "Bearer hf_secret")] * 2, ("storage", None)]
    assert "hf_secret" not in repr(hub)


def header(**values: str) -> Message:
    message = Message()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


def test_requested_wait_is_parsed():
    assert wait_asked(header(Retry_After="7", RateLimit='"api";r=0;t=55')) == 7
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert wait_asked(header(Retry_After=in_a_minute)) == pytest.approx(60, abs=3)
    assert wait_asked(header(Retry_After="Sat, 01 Jan 2000 00:00:00 GMT")) == 0
    assert wait_asked(header(RateLimit='"resolvers";r=0;t=55')) == 55
    assert wait_asked(header(Retry_After="soon")) is None
    assert wait_asked(header()) is None


def test_waits_double_up_to_a_cap_with_jitter(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert [pause(n) for n in (1, 2, 3, 6, 7, 50)] == [1, 2, 4, 32, 60, 60]
    assert pause(1, asked=10) == 11
    assert pause(1, asked=86_400) == 601
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    assert [pause(n) for n in (1, 2)] == [0.5, 1]
    assert pause(5, asked=10) == 10


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_retried_after_its_wait(fake, status):
    waits: list[float] = []
    hub = client(fake, sleep=waits.append)
    fake.api_faults = [Fault(status, {"Retry-After": "5"})]
    fake.faults = [Fault(status, {"Retry-After": "9"}), Fault(status)]
    (shard,) = hub.shards()
    assert read(hub, shard) == (DATA, "sha256")
    assert [int(wait) for wait in waits[:2]] == [5, 9]
    assert 0.5 <= waits[2] <= 2


def test_server_that_stays_busy_ends_in_an_error(fake):
    fake.faults = [Fault(503)] * 4
    with pytest.raises(DownloadError, match="HTTP 503 at each of 4 attempts"):
        read(client(fake), Shard("one.tar", len(DATA), SHA))
    fake.api_faults = [Fault(429)] * 4
    with pytest.raises(DownloadError, match="HTTP 429 at each of 4 attempts"):
        client(fake).shards()


def test_truncated_list_is_requested_again(fake):
    fake.api_faults = [Fault(200, body=b'[{"type": "file", ', drop_after=5)]
    assert [shard.path for shard in client(fake).shards()] == ["one.tar"]


@pytest.mark.parametrize(("status", "token"), [(401, None), (403, "hf_secret")])
def test_no_access(fake, status, token):
    remedy = "use a token in HF_TOKEN" if token else "set HF_TOKEN"
    hub = client(fake, token=token)
    fake.api_faults = [Fault(status)]
    with pytest.raises(UserError, match=rf"no access to data set {REPO} \(HTTP {status}\).*{remedy}") as caught:
        hub.shards()
    assert "hf_secret" not in str(caught.value)
    fake.faults = [Fault(status)]
    with pytest.raises(UserError, match="no access"):
        read(hub, Shard("one.tar", len(DATA), SHA))


def test_no_such_data_set_or_file(fake):
    with pytest.raises(UserError, match="someone/else at main: HTTP 404 Not Found; check --repo and --revision"):
        replace(client(fake), repo="someone/else").shards()
    with pytest.raises(DownloadError, match="HTTP 404"):
        read(client(fake), Shard("gone.tar", 5, None))


def test_invalid_lists_are_refused(fake):
    for body in (b"<html>Please log in</html>", b'{"error": "x"}', b'[{"type": "file"}]', b"[3]", b"\xff"):
        fake.api_faults = [Fault(200, body=body)]
        with pytest.raises(UserError, match="does not answer with a list of files; check --base-url"):
            client(fake).shards()
    fake.files = {"README.md": b""}
    with pytest.raises(UserError, match="has no .tar file; check --repo"):
        client(fake).shards()


def test_no_network():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = Hub(REPO, base_url=f"http://127.0.0.1:{port}", retries=1, sleep=lambda seconds: None)
    with pytest.raises(DownloadError, match="Connection refused at each of 2 attempts"):
        hub.shards()


def test_a_server_that_hangs(fake, monkeypatch):
    monkeypatch.setattr(connection, "_opener", Hanging())
    with pytest.raises(DownloadError, match="timed out at each of 4 attempts"):
        client(fake).shards()


class Hanging:
    def open(self, request, timeout):
        raise TimeoutError("timed out")


def test_a_file_that_is_shorter_than_the_list_says(fake):
    longer = Shard("one.tar", len(DATA) + 512, SHA)
    with pytest.raises(DownloadError, match="truncated or changed: 300000 bytes on the server, 300512 in its list"):
        read(client(fake), longer)
    fake.chunked = True  # detected at its end
    with pytest.raises(DownloadError, match="truncated: nothing at byte 300000 of 300512"):
        read(client(fake), longer)


def test_another_file_than_the_list_says(fake):
    with pytest.raises(tarfile.TarError, match=f"its sha256 is {SHA}, the list says {'0' * 64}"):
        read(client(fake), Shard("one.tar", len(DATA), "0" * 64))


def test_another_range_than_was_asked_for(fake):
    fake.faults = [Fault(206, {"Content-Range": "bytes 5-299999/300000"}, body=DATA[5:])]
    with pytest.raises(DownloadError, match="another range than from byte 1000 on"):
        read(client(fake), Shard("one.tar", len(DATA), SHA), 1000)


TAR = {"type": "file", "path": "x.tar", "size": 3, "lfs": {"oid": SHA}}
WRONG = {
    "no entry": "x.tar",
    "no type": {**TAR, "type": None},
    "no path": {**TAR, "path": 7},
    "empty path": {**TAR, "path": ""},
    "outside": {**TAR, "path": "../../../api/whoami/x.tar"},
    "absolute": {**TAR, "path": "/x.tar"},
    "control": {**TAR, "path": "a\nb.tar"},
    "long": {**TAR, "path": f"{'n' * 250}.tar"},
    "text for size": {**TAR, "size": "3"},
    "float": {**TAR, "size": 3.0},
    "truth": {**TAR, "size": True},
    "negative": {**TAR, "size": -3},
    "huge": {**TAR, "size": 1 << 60},
    "no size": {"type": "file", "path": "x.tar"},
    "sha of a list": {**TAR, "lfs": [SHA]},
    "no sha": {**TAR, "lfs": {"oid": "../x"}},
}


def test_wrong_entries_of_the_list_are_refused_one_by_one(fake):
    fake.more_entries = [*WRONG.values()]
    refused: list[tuple[str, str]] = []
    assert client(fake).shards(lambda *entry: refused.append(entry)) == [Shard("one.tar", len(DATA), SHA)]
    assert len(refused) == len(WRONG)
    assert all(reason for _, reason in refused)
    fake.api_faults = [Fault(200, body=json.dumps([*WRONG.values()]).encode())]
    with pytest.raises(UserError, match="does not answer with a list of files"):
        client(fake).shards()


def test_list_without_end(fake, monkeypatch):
    monkeypatch.setattr(download, "_PAGES", 20)
    fake.endless = True
    fake.page = 1
    with pytest.raises(DownloadError, match="the list of files does not end: 20 pages so far"):
        client(fake).shards()
    with pytest.raises(DownloadError, match="does not end: 0 pages"):
        client(fake, list_seconds=-1).shards()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" + b" " * 2000 + b"]", b"7" * 900, b"{}"])
def test_page_that_is_too_large_too_deep_or_no_list(body, fake, monkeypatch):
    monkeypatch.setattr(connection, "LARGEST_PAGE", 200_000 if body[1:2] == b"[" else 1000)
    fake.api_faults = [Fault(200, body=body)]
    with pytest.raises(UserError, match="does not answer with a list of files"):
        client(fake).shards()


@pytest.mark.parametrize("part", ["headers", "body"])
def test_trickle_is_ended(part, fake):
    """Each byte arrives within the time-out of a read."""
    hub = client(fake, timeout=0.3, retries=1)
    (shard,) = hub.shards()
    fake.trickle = part
    reason = "slower than 1000 bytes per second" if part == "body" else "the headers take too long"
    started = time.monotonic()
    with pytest.raises(DownloadError, match=f"({reason}).* at each of 2 attempts"):
        hub.shards()
    with pytest.raises(DownloadError, match=reason):
        read(hub, shard)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("address", ["ftp://localhost/x", "file:///etc/passwd", "data:,x"])
def test_redirect_to_another_protocol_is_refused(address, fake):
    (shard,) = client(fake).shards()
    fake.redirect = address
    with pytest.raises(DownloadError, match="HTTP 302 (redirects to ftp|Found - Redirection to url .* is not allowed)"):
        read(client(fake), shard)
