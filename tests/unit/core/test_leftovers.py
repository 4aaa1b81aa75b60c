"""Leftovers of killed processes are removed at the next start, and nothing else is."""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from avdfd.core import leftovers
from avdfd.core.files import atomic_file, ensure_writable, write_atomic
from avdfd.core.leftovers import SUFFIX, new_file, sweep, temporary_folder

PREFIX = "avdfd-test-"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def use(path: Path, ready) -> None:
    """Be within an atomic write and a temporary folder."""
    with atomic_file(path) as file, temporary_folder(PREFIX) as folder:
        file.write(b"half")
        file.flush()
        (folder / "window").write_bytes(b"much")
        ready.send(folder)
        time.sleep(60)


@pytest.fixture
def user(place):
    """A process that uses a temporary file and folder, and the folder."""
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=use, args=(place / "out.csv", far))
    process.start()
    yield process, near.recv()
    process.kill()
    process.join()


def temporary(place: Path) -> list[Path]:
    return [*place.glob(f".*{SUFFIX}")]


def test_leftovers_go_and_files_in_use_stay(place, user):
    process, folder = user
    ensure_writable(place)
    with temporary_folder(PREFIX) as own:
        assert (own.parent, own != folder) == (place, True)
    assert not own.exists()
    assert (folder / "window").exists()
    assert len(temporary(place)) == 1
    process.kill()
    process.join()
    write_atomic(place / "out.csv", b"whole")  # one write alone looks for none
    assert len(temporary(place)) == 1
    ensure_writable(place)
    with temporary_folder(PREFIX):
        assert not folder.exists()
    assert os.listdir(place) == ["out.csv"]


def test_files_of_others_stay(place):
    kept = {".out.csv.original", ".bashrc", f"mine{SUFFIX}", "avdfd-testimony", f".linked{SUFFIX}", f"{PREFIX}linked"}
    for name in kept:
        (place / name).symlink_to("target") if "linked" in name else (place / name).write_text("x")
    (place / "target").mkdir()
    (place / "target" / "inside").write_text("x")
    (place / f"{PREFIX}of-another").mkdir()
    if os.getuid() == 0:
        os.chown(place / f"{PREFIX}of-another", 12345, 12345)
        kept |= {f"{PREFIX}of-another"}
    sweep(place)
    with temporary_folder(PREFIX):
        pass
    assert {*os.listdir(place)} == kept | {"target"}
    assert (place / "target" / "inside").exists()


def test_file_that_is_swept_before_it_is_locked_is_made_anew(place, monkeypatch):
    lock, taken = leftovers._lock, []

    def late(file):
        if not taken:
            sweep(place)
        taken.append(file)
        lock(file)

    monkeypatch.setattr(leftovers, "_lock", late)
    file, name = new_file(place / "x")
    os.close(file)
    assert len(taken) == 2
    assert temporary(place) == [Path(name)]
