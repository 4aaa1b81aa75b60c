"""preprocess.py in several tasks, interrupted and killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore
from tests.helpers.preprocessing import config, many, quarantine, run, video
from tests.paths import ROOT


def bytes_of(store: Path) -> dict[str, bytes]:
    """Return all files of a store except locks."""
    return {path.name: path.read_bytes() for path in store.iterdir() if not path.name.startswith(".")}


def test_tasks_of_an_array_make_one_store(tmp_path, serial, capsys):
    many(tmp_path / "videos", 8)
    for number in (2, 0, 1):
        assert run(config(tmp_path, max_quarantined=1.0), "--shard", f"{number}/3") == 0
    assert "part 1/3: " in capsys.readouterr().out
    store = ElementStore(tmp_path / "elements")
    assert [m.source for m in store.metas] == [f"real/anna__{n:02d}.mp4" for n in range(8)]
    assert quarantine(tmp_path) == {"real/bert__00.mp4": "no audio stream"}
    # Without --shard, all parts are visited; nothing is left to do.
    before = bytes_of(tmp_path / "elements")
    serial.clear()
    assert run(config(tmp_path, max_quarantined=1.0)) == 0
    assert serial == []
    assert bytes_of(tmp_path / "elements") == before
    with pytest.raises(UserError, match="parts was 3 and is now 2"):
        run(config(tmp_path), "--shard", "0/2")
    with pytest.raises(UserError, match="write i/n"):
        run(config(tmp_path), "--shard", "3/3")


def test_missing_part_is_reported(tmp_path, serial, capsys):
    many(tmp_path / "videos", 4)
    assert run(config(tmp_path, max_quarantined=1.0), "--shard", "0/2") == 0
    assert "indexed without parts 1/2" in capsys.readouterr().out


def test_killed_and_resubmitted_run_is_byte_identical(tmp_path, serial):
    """The bytes are those of an uninterrupted run in one process, so they do not depend on which worker is faster."""
    many(tmp_path / "videos", 7)
    video(tmp_path / "videos" / "real" / "anna__05.mp4", 8)  # takes longer than the clip after it
    path = config(tmp_path, max_quarantined=1.0)
    assert run(path, "--shard_clips=2", f"--output={tmp_path / 'whole'}") == 0
    command = [sys.executable, "data/preprocess.py", "--config", str(path), "--shard_clips=2", "--workers=2"]
    rng = np.random.default_rng(0)
    journal = tmp_path / "elements" / "journal-000.jsonl"
    kills = 0
    while True:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        size = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and (kills == 2 or not journal.exists() or journal.stat().st_size == size):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 1  # a fast machine may finish before the next kill
    assert process.returncode == 0
    assert bytes_of(tmp_path / "elements") == bytes_of(tmp_path / "whole")
    assert not [path for path in (tmp_path / "elements").iterdir() if path.is_dir()]  # left by workers, and removed


def test_second_run_resumes_after_ctrl_c(tmp_path, serial):
    for number in range(12):
        video(tmp_path / "videos" / "real" / f"{number:02d}.mp4")
    command = [sys.executable, "data/preprocess.py", "--config", str(config(tmp_path))]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    index = tmp_path / "elements" / "journal-000.jsonl"
    while process.poll() is None and not (index.exists() and index.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    done = index.read_bytes().count(b"\n")
    assert 3 <= done < 12
    run(config(tmp_path))
    assert len(serial) == 12 - done
    store = ElementStore(tmp_path / "elements")
    assert len(store) == 12
    assert all(np.isfinite(store.read(meta.key).mel).all() for meta in store.metas)
