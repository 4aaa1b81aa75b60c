"""A store at a URL gives the elements of the folder; every fault of its server is one line."""

import errno
import json
import multiprocessing as mp
import pickle
import shutil
import socket
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from avdfd.config import AugmentConfig
from avdfd.core import remote_files
from avdfd.core.errors import UserError, WorkError
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX, STORE, folder_of, media_of, read_settings
from tests.helpers.file_server import FileServer, serve

SHARD = "shard-000-00000.tar"
CPU = torch.device("cpu")
EVERYTHING = {"waveform": True, "mel": True, "frames": [0, 5, 76]}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("avdfd.elements.layout.REMOTE", tmp_path / "remote")
    monkeypatch.setattr(remote_files, "_WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def folder(small_store, tmp_path_factory):
    """A store that is whole."""
    folder = shutil.copytree(small_store / "elements", tmp_path_factory.mktemp("whole") / "elements")
    assert merge(folder)
    return folder


@pytest.fixture
def server(folder):
    with serve(FileServer(folder)) as server:
        yield server


@pytest.fixture
def own(server, tmp_path):
    """The server has a copy of the store, which a test may change."""
    server.folder = shutil.copytree(server.folder, tmp_path / "copy")
    return server


def same(one, other):
    assert one.meta == other.meta
    for name in ("waveform", "mel", "frames"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_elements_are_those_of_the_folder(server, folder):
    near, far = ElementStore(folder), ElementStore(server.url)
    assert [*near.metas] == [*far.metas]
    assert (near.version, near.whole, near.has_frames) == (far.version, far.whole, far.has_frames)
    server.log.clear()
    for meta in [*near.metas][::-1]:
        same(near.read(meta.key, **EVERYTHING), far.read(meta.key, **EVERYTHING))
    assert len(server.log) == len(near.metas), "one request for members near each other"
    assert server.connections == 1, "it stays open"
    assert torch.from_numpy(far.read(near.metas[0].key).mel) is not None  # and so writable
    assert media_of(server.url) == media_of(folder)


def test_index_is_fetched_once(own):
    ElementStore(own.url)
    fetched = own.log.copy()
    ElementStore(f"{own.url}/")
    assert own.log == [*fetched, (STORE, None)]
    assert fetched[0] == (STORE, None)
    assert {name for name, _ in fetched[1:]} == {INDEX}
    (folder_of(own.url) / INDEX).write_bytes(b"damaged")
    ElementStore(own.url)
    assert own.log[-1][0] == INDEX, "fetched again, as it is not what store.json notes"


def test_a_process_that_is_spawned_gets_the_url(server, folder):
    near, far = ElementStore(folder), ElementStore(server.url)
    first = near.metas[0].key
    far.read(first)
    again = pickle.loads(pickle.dumps(far))
    same(near.read(first, **EVERYTHING), again.read(first, **EVERYTHING))
    assert server.connections == 2


def test_a_forked_process_leaves_the_connection_of_its_parent(server):
    far = ElementStore(server.url)
    keys = [meta.key for meta in far.metas]
    far.read(keys[0])
    before = server.connections
    near, other = mp.Pipe()
    child = mp.get_context("fork").Process(target=lambda: other.send(far.read(keys[1]).mel))
    child.start()
    assert np.array_equal(near.recv(), far.read(keys[1]).mel)
    child.join()
    assert server.connections == before + 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(server, folder, workers):
    """Two steps of training, with augmentation."""
    stores = ElementStore(folder), ElementStore(server.url)
    epochs = []
    for store in stores:
        elements = ElementSet(store, store.metas, Inputs(32, AugmentConfig(flip=0.5, mel_noise=0.1)))
        batches = iter(Batches(elements, Shared(Shuffled(len(store), 3, seed=4)), CPU, workers=workers))
        epochs.append([next(batches) for _ in range(2)])
        batches.close()
    for (share, batch), (other_share, other) in zip(*epochs, strict=True):
        assert share == other_share
        assert torch.equal(batch.mel, other.mel)
        assert torch.equal(batch.video, other.video)
        assert torch.equal(batch.label, other.label)


# ---- faults of the server


def read_all(url):
    store = ElementStore(url)
    for meta in store.metas:
        store.read(meta.key, **EVERYTHING)


def refused(server, error=UserError):
    with pytest.raises(error) as raised:
        read_all(server.url)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(server.url)


def test_a_server_without_ranges(server):
    server.ranges = False
    assert refused(server, WorkError).startswith(
        f"/{INDEX}: the server sends the whole file when asked for a part (no HTTP ranges)"
    )


def test_answers_that_end_early_are_asked_for_again(server, folder):
    server.cut = 2
    near, far = ElementStore(folder), ElementStore(server.url)
    server.cut = 1
    same(near.read(near.metas[0].key, **EVERYTHING), far.read(near.metas[0].key, **EVERYTHING))
    assert server.cut == 0
    server.cut = 99
    assert "the answer ends" in refused(server, WorkError)


def test_connections_that_were_closed_are_opened_again(server, folder):
    server.close = True
    near, far = ElementStore(folder), ElementStore(server.url)
    for meta in near.metas:
        same(near.read(meta.key, **EVERYTHING), far.read(meta.key, **EVERYTHING))


def test_a_shard_that_is_shorter(own):
    path = own.folder / SHARD
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = refused(own, WorkError)
    assert text.startswith(f"/{SHARD}: ")
    assert "when asked for" in text or "has fewer than" in text


def test_a_changed_shard_names_the_clip(own):
    store = ElementStore(own.folder)
    data = bytearray((own.folder / SHARD).read_bytes())
    data[int(store.metas.numbers("mel.npy")[3]) + 100] ^= 1
    (own.folder / SHARD).write_bytes(data)
    meta = store.metas[3]
    text = refused(own)
    assert text.startswith(f"/{SHARD}: mel.npy of the clip {meta.source} is damaged ({meta.key}); ")
    assert text.endswith("upload the store again")


def test_a_changed_index(own):
    data = bytearray((own.folder / INDEX).read_bytes())
    data[len(data) // 2] ^= 1
    (own.folder / INDEX).write_bytes(data)
    assert refused(own) == f"/{INDEX}: its checksum differs from {STORE}; upload the store again"
    assert not (folder_of(own.url) / INDEX).exists()


@pytest.mark.parametrize(
    ("name", "status", "error", "text"),
    [
        (STORE, 404, UserError, ": no such element store, as it has no store.json; upload one that is whole"),
        (INDEX, 404, UserError, f"/{INDEX}: missing; upload the store again"),
        (SHARD, 404, UserError, f"/{SHARD}: missing; what the server has is not what its index says: upload"),
        (SHARD, 403, WorkError, f"/{SHARD}: the server answers HTTP 403 Forbidden"),
        (SHARD, 503, WorkError, f"/{SHARD}: cannot be read (HTTP 503); run it again"),
    ],
)
def test_refusals(server, name, status, error, text):
    server.status[name] = status
    assert refused(server, error).startswith(text)
    assert [asked for asked, _ in server.log].count(name) == (3 if status == 503 else 1)


def test_a_server_that_is_not_there(server):
    url = "http://127.0.0.1:9/store"
    with pytest.raises(WorkError, match=r"^http://127.0.0.1:9/store/store.json: cannot be read \(Connection refused\)"):
        ElementStore(url)


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(remote_files, "_SECONDS", 0.05)
    monkeypatch.setattr(remote_files, "_WAITS", ())
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(WorkError, match=r"cannot be read \((timed out|no answer)"):
            ElementStore(f"http://127.0.0.1:{silent.getsockname()[1]}/store")


def test_redirects_stay_with_the_protocol(server, folder):
    with serve(FileServer(folder)) as first:
        first.redirect = server.url
        same(ElementStore(first.url).read(ElementStore(folder).metas[0].key, **EVERYTHING),
             ElementStore(folder).read(ElementStore(folder).metas[0].key, **EVERYTHING))  # fmt: skip
        first.redirect = "file:///etc"
        assert "redirects to file, not http" in refused(first, WorkError)
        first.redirect = first.url
        assert "redirects again and again" in refused(first, WorkError)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda about: about.pop("files"), ": has no index yet: run data/preprocess.py to its end"),
        (lambda about: about.update(parts=-1), "/store.json: -1 parts"),
        (lambda about: about["settings"].update({"media.min_fake": 0.1}), ": was made by an earlier version"),
    ],
)
def test_foreign_store_json(own, change, text):
    about = read_settings(own.folder)
    change(about)
    (own.folder / STORE).write_text(json.dumps(about))
    assert refused(own).startswith(text)


def test_a_file_without_end_is_not_read_to_it(own, monkeypatch):
    monkeypatch.setattr("avdfd.elements.shards._LARGEST", 100)
    assert "more than the 100 bytes that it may" in refused(own, WorkError)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://host/store", "reads http://, https://"),
        ("https://me:secret@host/store", "^https://host/store: a URL is saved with every run: leave user and password"),
        ("https://host/store?token=1", "without a query"),
        ("https:///store", "name a folder"),
        ("s3://a::file:///b", "name a folder"),
    ],
)
def test_urls_that_are_refused(url, text):
    with pytest.raises(UserError, match=text):
        ElementStore(url)


# ---- object storage


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(known_implementations, "s3", {"class": "s3fs_missing.S3", "err": "no"})
    with pytest.raises(
        UserError, match=r"^s3://bucket/store: s3:// needs the package s3fs: .venv/bin/pip install s3fs"
    ):
        ElementStore("s3://bucket/store")


def test_other_protocols_go_through_fsspec(folder):
    near, far = ElementStore(folder), ElementStore(f"file://{folder}")
    assert far.root == folder_of(f"file://{folder}") != folder
    for meta in near.metas:
        same(near.read(meta.key, **EVERYTHING), far.read(meta.key, **EVERYTHING))
    again = pickle.loads(pickle.dumps(far))
    same(near.read(near.metas[0].key, **EVERYTHING), again.read(near.metas[0].key, **EVERYTHING))


class Failing(LocalFileSystem):
    """Object storage whose driver fails."""

    protocol = "s3"
    tried = 0

    def cat_file(self, path, start=None, end=None, **kwargs):
        type(self).tried += 1
        raise ConnectionResetError("reset by peer")


class Bucket(MemoryFileSystem):
    """Object storage in memory, with the answers of s3fs where they are others."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("s3://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        if (start or 0) >= self.info(path)["size"]:
            raise OSError(errno.EINVAL, "The requested range is not satisfiable")
        return super().cat_file(path, start=start, end=end, **kwargs)


def test_object_storage(folder, monkeypatch):
    monkeypatch.setitem(_registry, "s3", Bucket)
    bucket = Bucket()
    for path in folder.iterdir():
        bucket.pipe_file(f"s3://bucket/store/{path.name}", path.read_bytes())
    near, far = ElementStore(folder), ElementStore("s3://bucket/store")
    for meta in near.metas:
        same(near.read(meta.key, **EVERYTHING), far.read(meta.key, **EVERYTHING))
    with pytest.raises(UserError, match="^s3://bucket/other: no such element store"):
        ElementStore("s3://bucket/other")
    bucket.pipe_file(f"s3://bucket/store/{SHARD}", b"")
    with pytest.raises(
        WorkError, match=rf"^s3://bucket/store/{SHARD}: the server refuses bytes \d+ to .*: is the file wh"
    ):
        far.read(near.metas[0].key)


def test_errors_of_a_driver_are_one_line(folder, monkeypatch):
    monkeypatch.setitem(_registry, "s3", Failing)
    with pytest.raises(WorkError, match=r"^s3://bucket/store/store.json: cannot be read \(reset by peer\); run it"):
        ElementStore("s3://bucket/store")
    assert Failing.tried == 3


def test_a_stored_file_that_is_too_short(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / SHARD).write_bytes((copy / SHARD).read_bytes()[:5000])
    with pytest.raises(WorkError, match=rf"{SHARD}: has \d+ bytes at \d+ in place of \d+"):
        read_all(f"file://{copy}")
    Path(copy / SHARD).unlink()
    with pytest.raises(UserError, match=rf"{SHARD}: missing; what the server has"):
        read_all(f"file://{copy}")
