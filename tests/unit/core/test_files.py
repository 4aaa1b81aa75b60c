"""Atomic writing, checksums and locks."""

import hashlib
import multiprocessing
import os
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, is_locked, lock_for_process, locked, sha256_of, write_atomic


def test_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["b.txt"]


def test_failed_write_leaves_the_old_content_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "b.txt"
    write_atomic(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_sha256(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_folder_that_cannot_be_created_is_rejected(tmp_path):
    ensure_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/below: cannot be written to \(Not a directory\)"):
        ensure_writable(tmp_path / "file" / "below")


def test_output_is_locked_for_one_run(tmp_path):
    with locked(tmp_path / ".lock", tmp_path / "out.csv"):
        with (
            pytest.raises(UserError, match=r"out.csv: another run is writing to it"),
            locked(tmp_path / ".lock", tmp_path / "out.csv"),
        ):
            pass
        assert is_locked(tmp_path / ".lock")
        assert not is_locked(tmp_path / ".other")
        with locked(tmp_path / ".other", tmp_path / "other.csv"):
            pass
    with locked(tmp_path / ".lock", tmp_path / "out.csv"):
        pass


def test_hash_of_what_is_no_file(tmp_path):
    """A FIFO without a writer would be waited for, for ever."""
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "FIFO"), (tmp_path, "folder"), (Path("/dev/zero"), "device")):
        with pytest.raises(OSError, match=f"a {kind}, not a file"):
            sha256_of(path)


def hold(lock, ready, own):
    """Take a lock in a process of its own, and keep it."""
    with closing(lock_for_process(lock, lock)) if own else locked(lock, lock):
        ready.send(None)
        time.sleep(60)


@pytest.mark.parametrize("own", [False, True])
def test_process_that_has_a_lock_is_named_and_waited_for(own, tmp_path):
    lock = tmp_path / ".lock"
    near, far = multiprocessing.Pipe()
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(lock, far, own))
    holder.start()
    near.recv()
    take = partial(lock_for_process, lock, tmp_path) if own else locked(lock, tmp_path, patience=0.2).__enter__
    with pytest.raises(UserError, match=rf"writing to it \(process {holder.pid}: .*python.*\); wait for its end or s"):
        take()
    if not own:
        threading.Timer(0.3, holder.kill).start()
        with locked(lock, tmp_path, patience=30):
            assert not holder.is_alive()
    holder.kill()
    holder.join()
