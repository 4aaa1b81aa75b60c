"""Arrays on disk: rows after a crash, claims of several processes, damaged and foreign files."""

import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.training import array_store
from avdfd.training.array_store import BLOCK, ArrayStore, RowFormat

FORMATS = {"wide": RowFormat("float16", (2, 3)), "narrow": RowFormat("float32", ())}
ROWS = 2 * BLOCK + 5


def opened(root: Path, rows: int = ROWS, formats: dict[str, RowFormat] = FORMATS) -> ArrayStore:
    return ArrayStore(root, formats, rows, {"of": "numbers"})


@pytest.fixture
def kept(tmp_path):
    made = opened(tmp_path / "kept")
    yield made
    made.close()


def values(rows: np.ndarray) -> dict[str, np.ndarray]:
    wide = rows[:, None, None] + np.arange(6).reshape(2, 3)
    return {"wide": wide.astype(np.float16), "narrow": rows.astype(np.float32) / 2}


def test_written_rows_are_read_back_and_others_are_missing(kept, tmp_path):
    rows = np.array([4, 0, ROWS - 1])
    kept.write(rows, values(rows))
    kept.close()
    again = opened(tmp_path / "kept")
    assert np.flatnonzero(again.done()).tolist() == [0, 4, ROWS - 1]
    assert again.missing(np.array([5, 4, 0, 3, 5])).tolist() == [3, 5]
    assert again.missing(np.array([], np.int64)).tolist() == []
    for name, expected in values(rows).items():
        assert np.array_equal(again.array(name)[rows], expected)
        assert np.array_equal(np.load(tmp_path / "kept" / f"{name}.npy")[rows], expected)  # as any reader of .npy files
    assert again.row_bytes == 6 * 2 + 4
    again.close()


def test_files_are_sparse_until_rows_are_written(tmp_path):
    kept = opened(tmp_path / "kept", rows=10**6)
    path = tmp_path / "kept" / "wide.npy"
    assert path.stat().st_size > 12 * 10**6
    assert path.stat().st_blocks * 512 < 10**5
    kept.close()


def test_notes_are_added_to_about_json(kept):
    kept.note(rate=3.5)
    kept.note(device="cpu")
    assert kept.about() == {"of": "numbers", "rate": 3.5, "device": "cpu"}


@pytest.mark.parametrize("failing", ["pwrite", "fsync"])
def test_full_disk_is_named_and_leaves_no_row(kept, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    rows = np.arange(3)
    with monkeypatch.context() as patch:
        patch.setattr(array_store.os, failing, full)
        with pytest.raises(OSError, match="No space left") as error:
            kept.write(rows, values(rows))
    assert error.value.filename == str(kept.root / "wide.npy")
    assert not kept.done().any()
    kept.write(rows, values(rows))
    assert kept.missing(rows).tolist() == []


def test_data_reach_the_disk_before_rows_are_marked(kept, monkeypatch):
    order = []
    fsync, pwrite = os.fsync, os.pwrite
    names = {number: name for name, number in kept._files.items()}
    monkeypatch.setattr(array_store.os, "fsync", lambda file: (order.append(("fsync", names[file])), fsync(file)))
    monkeypatch.setattr(
        array_store.os, "pwrite", lambda file, *rest: (order.append(("write", names[file])), pwrite(file, *rest))[1]
    )
    rows = np.array([1])
    kept.write(rows, values(rows))
    assert order == [("write", "wide"), ("write", "narrow"), ("fsync", "wide"), ("fsync", "narrow"), ("write", "done")]


def test_rows_beyond_free_space_are_refused(kept, monkeypatch):
    monkeypatch.setattr(array_store.shutil, "disk_usage", lambda _: Usage(free=10**9))
    kept.check_space(10**9 // kept.row_bytes, "cache")
    with pytest.raises(UserError, match=r"kept: 1000000000 rows of 0.00 MB take 16.0 GB, and 1.0 GB are free; free"):
        kept.check_space(10**9, "cache")


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("wide", lambda path: os.truncate(path, path.stat().st_size - 1), r"wide.npy: has \d+ bytes, expected \d+"),
        ("done", lambda path: os.truncate(path, 130), r"done.npy: has 130 bytes"),
        ("wide", lambda path: os.truncate(path, 3), r"wide.npy: damaged; delete .*kept, it will be computed again"),
        ("narrow", lambda path: path.unlink(), r"narrow.npy: missing; delete"),
        ("narrow", lambda path: path.write_bytes(b"something else altogether"), r"narrow.npy: damaged"),
        ("wide", lambda path: np.save(path, np.zeros((ROWS, 2, 3))), r"wide.npy: holds float64 .*, expected float16 "),
        ("wide", lambda path: np.save(path, np.zeros((9, 2, 3), np.float16)), r"wide.npy: holds float16 \(9, 2, 3\)"),
    ],
)
def test_damaged_or_foreign_file_is_refused(kept, tmp_path, name, damage, message):
    kept.close()
    damage(tmp_path / "kept" / f"{name}.npy")
    with pytest.raises(UserError, match=message):
        opened(tmp_path / "kept")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"of": "numbe', r"about.json: damaged; delete"),
        ('{"of": "words"}', r"kept: content does not match its key"),
    ],
)
def test_damaged_or_foreign_folder_is_refused(kept, tmp_path, text, message):
    kept.close()
    (tmp_path / "kept" / array_store.ABOUT).write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path / "kept")


def test_unfinished_folder_is_created_again(kept, tmp_path):
    kept.close()
    (tmp_path / "kept" / array_store.ABOUT).unlink()
    (tmp_path / "kept" / "wide.npy").write_bytes(b"")
    opened(tmp_path / "kept").close()


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        opened(tmp_path / "file" / "kept")


def claim_and_die(root: Path, answers: "multiprocessing.Queue[bool]") -> None:
    other = opened(root)
    answers.put(other.claim(0))
    answers.put(other.claim(1))
    answers.close()
    answers.join_thread()
    os._exit(9)  # as a kill would


def test_claim_excludes_other_processes_and_ends_with_its_process(kept):
    assert kept.claim(0)
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=claim_and_die, args=(kept.root, answers))
    child.start()
    assert [answers.get(timeout=60), answers.get(timeout=60)] == [False, True]
    assert kept.claim(1, wait=True)
    child.join()
    kept.release(0)
