import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avdfd.config import PreprocessConfig, load
from avdfd.elements import ElementStore
from avdfd.errors import MediaError, UserError
from avdfd.files import sha256_of
from avdfd.workers import Failure
from data import preprocess
from tests.recordings import clicks, number_of, record
from tests.test_elements import members

ROOT = Path(__file__).parents[1]


def video(path: Path, seconds: float = 3.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [n / 25 for n in range(round(25 * seconds))]
    return record(path, times, clicks(seconds, 16_000, [1.0]), rate=16_000)


def root(folder: Path) -> Path:
    """Two good clips, one without sound, one that is text."""
    video(folder / "real" / "anna.mp4")
    video(folder / "fake" / "anna__swap.mp4", 5)
    record(folder / "real" / "mute.mp4", [n / 25 for n in range(90)], None)
    (folder / "fake" / "text.mp4").write_text("no video")
    return folder


def config(tmp_path: Path, **values) -> Path:
    path = tmp_path / "preprocess.json"
    settings = {"kind": "preprocess", "input": str(tmp_path / "videos"), "output": str(tmp_path / "elements")}
    path.write_text(json.dumps({"workers": 1, "max_quarantined": 0.5, **settings, **values}))
    return path


@pytest.fixture
def serial(monkeypatch) -> list[str]:
    """Decodes in this process, which is quicker; lists what was decoded."""
    done: list[str] = []

    def run(function, items, *, workers, time_limit):
        for item in items:
            done.append(item.source)
            try:
                yield item, function(item)
            except MediaError as error:
                yield item, Failure(str(error))

    monkeypatch.setattr(preprocess, "run_killable", run)
    return done


def run(path: Path, *overrides: str) -> int:
    return preprocess.main(["--config", str(path), *overrides])


def quarantine(tmp_path: Path) -> dict[str, str]:
    with (tmp_path / "elements" / "quarantine.csv").open() as file:
        return {row["source"]: row["reason"] for row in csv.DictReader(file)}


def test_whole_script_in_processes(tmp_path):
    root(tmp_path / "videos")
    command = [sys.executable, "data/preprocess.py", "--config", str(config(tmp_path)), "--media.hop=1.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "4 files, 3 elements, 2 files quarantined" in done.stdout
    store = ElementStore(tmp_path / "elements")
    assert [(m.source, m.tier, m.identities, m.start) for m in store.metas] == [
        ("fake/anna__swap.mp4", "FAKE", ("anna",), 0.0),
        ("fake/anna__swap.mp4", "FAKE", ("anna",), 1.5),
        ("real/anna.mp4", "RVRA", ("anna",), 0.0),
    ]
    element = store.read(store.metas[1].key, waveform=True, frames=[0, 40, 76])
    assert [number_of(image) for image in element.frames] == pytest.approx([37.5, 77.5, 113.5], abs=0.51)
    assert store.metas[0].sha256 == sha256_of(tmp_path / "videos" / "fake" / "anna__swap.mp4")
    assert quarantine(tmp_path) == {"fake/text.mp4": "not a media file", "real/mute.mp4": "no audio stream"}


def test_second_run_does_nothing(tmp_path, serial):
    root(tmp_path / "videos")
    assert run(config(tmp_path)) == 0
    assert len(serial) == 4
    index = (tmp_path / "elements" / "index.jsonl").read_bytes()
    os.utime(tmp_path / "videos" / "real" / "anna.mp4")  # the time alone is no change
    serial.clear()
    assert run(config(tmp_path)) == 0
    assert serial == []
    assert (tmp_path / "elements" / "index.jsonl").read_bytes() == index


def test_changed_new_and_vanished_files_are_taken_up(tmp_path, serial, capsys):
    videos = root(tmp_path / "videos")
    run(config(tmp_path))
    serial.clear()
    video(videos / "real" / "anna.mp4", 6.5)
    video(videos / "real" / "bert.mp4")
    video(videos / "real" / "mute.mp4")
    (videos / "fake" / "anna__swap.mp4").unlink()
    run(config(tmp_path))
    assert sorted(serial) == ["real/anna.mp4", "real/bert.mp4", "real/mute.mp4"]
    assert "1 files done before, 2 changed, 1 gone" in capsys.readouterr().out
    store = ElementStore(tmp_path / "elements")
    sources = ["real/anna.mp4", "real/anna.mp4", "real/bert.mp4", "real/mute.mp4"]
    assert [m.source for m in store.metas] == sources
    assert sorted({name.split(".")[0] for name in members(store.root)}) == [m.key for m in store.metas]
    assert quarantine(tmp_path) == {"fake/text.mp4": "not a media file"}


def test_clip_that_is_described_otherwise_is_made_anew(tmp_path, serial):
    videos = root(tmp_path / "videos")
    run(config(tmp_path))
    serial.clear()
    (videos / "manifest.csv").write_text("file,identity,fake_method\nreal/anna.mp4,Anna K.,\n")
    run(config(tmp_path))
    assert serial == ["real/anna.mp4"]
    assert ElementStore(tmp_path / "elements").metas[-1].identities == ("Anna K.",)


def test_changed_setting_is_named_and_nothing_is_touched(tmp_path, serial):
    root(tmp_path / "videos")
    run(config(tmp_path))
    serial.clear()
    with pytest.raises(UserError, match="media.face.margin was 1.5 and is now 2.0.*another output"):
        run(config(tmp_path), "--media.face.margin=2.0")
    assert serial == []
    assert run(config(tmp_path), "--media.time_limit=60.0") == 0  # does not change elements
    assert serial == []


def test_other_tiers_are_left_alone(tmp_path, serial):
    root(tmp_path / "videos")
    run(config(tmp_path), '--tiers=["RVRA"]')
    run(config(tmp_path), '--tiers=["FAKE"]')
    assert {m.tier for m in ElementStore(tmp_path / "elements").metas} == {"RVRA", "FAKE"}


def test_wrong_input_does_not_empty_a_store(tmp_path, serial):
    root(tmp_path / "videos")
    run(config(tmp_path))
    video(tmp_path / "others" / "real" / "zoe.mp4")
    with pytest.raises(UserError, match="none of its videos is under"):
        run(config(tmp_path), f"--input={tmp_path / 'others'}")
    assert len(ElementStore(tmp_path / "elements")) == 2


def test_too_many_failures_exit_1(tmp_path, serial, capsys):
    root(tmp_path / "videos")
    assert run(config(tmp_path), "--max_quarantined=0.4") == 1
    assert "2 of 4 files could not be used, more than max_quarantined = 0.4" in capsys.readouterr().err
    assert len(ElementStore(tmp_path / "elements")) == 2


def test_killed_file_is_tried_again_with_more_time_only(tmp_path, monkeypatch, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    in_process = preprocess.run_killable

    def late(function, items, *, workers, time_limit):
        yield from ((item, Failure(f"took longer than {time_limit:g} s", killed=True)) for item in items)

    monkeypatch.setattr(preprocess, "run_killable", late)
    assert run(config(tmp_path), "--media.time_limit=5.0") == 1
    assert quarantine(tmp_path) == {"real/anna.mp4": "took longer than 5 s"}
    monkeypatch.setattr(preprocess, "run_killable", in_process)
    assert run(config(tmp_path), "--media.time_limit=5.0") == 1
    assert serial == []
    assert run(config(tmp_path), "--media.time_limit=50.0") == 0
    assert serial == ["real/anna.mp4"]


def test_names_that_differ_in_dots_only_are_refused(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "a.b.mp4")
    video(tmp_path / "videos" / "real" / "a_b.mp4")
    with pytest.raises(UserError, match="differ only in dots"):
        run(config(tmp_path))
    assert not (tmp_path / "elements").exists()


def test_full_disk_ends_in_one_line(tmp_path):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    full = (
        "import errno, os, runpy, sys\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "os.pwrite, sys.argv = full, sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", full, "data/preprocess.py", "--config", str(config(tmp_path))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'elements' / 'shard-00000.tar'}: No space left")
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_continued_by_a_second_run(tmp_path, serial):
    for number in range(12):
        video(tmp_path / "videos" / "real" / f"{number:02d}.mp4")
    command = [sys.executable, "data/preprocess.py", "--config", str(config(tmp_path))]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    index = tmp_path / "elements" / "index.jsonl"
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


@pytest.mark.parametrize("name", ["preprocess.json", "demo/preprocess.json"])
def test_shipped_configs_load(name):
    assert load(ROOT / "config" / name, PreprocessConfig).media.hop > 0


def test_every_media_key_is_a_setting_of_the_store():
    settings = preprocess.settings(load(ROOT / "config" / "preprocess.json", PreprocessConfig))
    assert set(settings) == {
        "form", "media.decoder", "media.hop", "media.max_windows", "media.jpeg_quality", "media.face.detect_fps",
        "media.face.min_score", "media.face.min_found", "media.face.margin",
    }  # fmt: skip
