import csv
import fcntl
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.core.workers import Failure
from avdfd.corpora.inventory import examine
from avdfd.corpora.manifest import ManifestRow, read_manifest
from data.preprocessing import make_manifest
from tests.helpers.in_process import run_in_process
from tests.helpers.videos import make_video
from tests.paths import ROOT


@pytest.fixture
def videos(tmp_path) -> Path:
    """Two good clips with equal video, one without audio, one that is text, and one that is listed but missing."""
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    (root / "fake").mkdir()
    make_video(root / "real" / "anna.mp4", 3)
    (root / "fake" / "anna__copy.mp4").write_bytes((root / "real" / "anna.mp4").read_bytes())
    make_video(root / "real" / "mute.mp4", 1, audio=None)
    (root / "fake" / "text.mp4").write_text("no video")
    (root / "manifest.csv").write_text("file,identity,fake_method\nreal/gone.mp4,Gone,\n")
    return root


@pytest.fixture
def serial(monkeypatch) -> list[str]:
    """Open files in this process, which is faster; lists the opened files."""
    opened: list[str] = []

    run = partial(run_in_process, started=lambda function, item: opened.append(item.name))
    monkeypatch.setattr(make_manifest, "run_killable", run)
    return opened


def run(root: Path, out: Path, *more: str) -> int:
    return make_manifest.main(["--root", str(root), "--out", str(out), *more])


def test_the_videos_of_a_list(videos, tmp_path, serial):
    listed = tmp_path / "trainset.csv"
    listed.write_text(f"real/anna.mp4,0\n{videos}/fake/anna__copy.mp4,1\nfake/gone.mp4,1\n")
    assert run(videos, tmp_path / "m.parquet", "--csv", str(listed)) == 0
    rows = by_path(tmp_path / "m.parquet")
    assert {source: row.tier for source, row in rows.items()} == {
        "fake/anna__copy.mp4": "FAKE", "fake/gone.mp4": "FAKE", "real/anna.mp4": "RVRA"
    }  # fmt: skip
    assert rows["fake/gone.mp4"].file.error == f"listed in {listed}, but there is no such file"
    assert serial == ["anna__copy.mp4", "anna.mp4"]
    with pytest.raises(UserError, match="--csv and --layout both say how the videos are listed"):
        run(videos, tmp_path / "m.parquet", "--csv", str(listed), "--layout", "plain")


def by_path(out: Path) -> dict[str, ManifestRow]:
    return {row.source: row for row in read_manifest(out)}


def test_whole_script_in_processes(videos, tmp_path):
    out = tmp_path / "lists" / "m.parquet"
    command = [sys.executable, "data/preprocessing/make_manifest.py", "--root", str(videos), "--out", str(out)]
    done = subprocess.run([*command, "--workers", "2"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "5 rows, 2 usable, 1 identities" in done.stdout
    rows = by_path(out)
    assert list(rows) == sorted(rows)
    assert {path: row.file.error for path, row in rows.items() if row.file.error} == {
        "fake/text.mp4": "not a media file",
        "real/gone.mp4": "listed in manifest.csv, but there is no such file",
        "real/mute.mp4": "no audio stream",
    }
    assert rows["real/anna.mp4"].sha256 == rows["fake/anna__copy.mp4"].sha256
    assert (rows["fake/anna__copy.mp4"].tier, rows["fake/anna__copy.mp4"].label_audio) == ("FAKE", None)
    assert not (tmp_path / "lists" / "m.parquet.partial").exists()


def test_second_run_opens_what_is_new_or_changed(videos, tmp_path, serial, capsys):
    out = tmp_path / "m.parquet"
    assert run(videos, out) == 0
    assert len(serial) == 4
    first = out.read_bytes()
    serial.clear()
    assert run(videos, out) == 0
    assert serial == []
    assert out.read_bytes() == first
    (videos / "real" / "mute.mp4").unlink()
    make_video(videos / "real" / "anna.mp4", 2)
    make_video(videos / "real" / "bea.mp4", 2)
    assert run(videos, out) == 0
    assert sorted(serial) == ["anna.mp4", "bea.mp4"]
    assert "3 files listed before, 2 to open, 1 gone" in capsys.readouterr().out
    assert by_path(out)["real/anna.mp4"].file.streams.duration == pytest.approx(2, abs=0.15)
    assert "real/mute.mp4" not in by_path(out)


def test_interrupted_run_resumes(videos, tmp_path, serial, monkeypatch):
    out = tmp_path / "m.parquet"
    monkeypatch.setattr(make_manifest, "SAVE_EVERY", 0)

    def break_off(path):
        if len(serial) == 4:
            raise SystemExit  # like a kill
        return examine(path)

    monkeypatch.setattr(make_manifest, "examine", break_off)
    with pytest.raises(SystemExit):
        run(videos, out)
    assert not out.exists()
    done = [path for path, row in by_path(tmp_path / "m.parquet.partial").items() if row.sha256]
    assert len(done) == 3
    serial.clear()
    monkeypatch.setattr(make_manifest, "examine", examine)
    assert run(videos, out) == 0
    assert len(serial) == 1
    again = tmp_path / "again.parquet"
    assert run(videos, again) == 0
    assert again.read_bytes() == out.read_bytes()


def test_killed_process_leaves_nothing_half_written(videos, tmp_path):
    out = tmp_path / "m.parquet"
    command = [sys.executable, "data/preprocessing/make_manifest.py", "--root", str(videos), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT)
    while not (tmp_path / ".m.parquet.lock").exists():  # taken at once, and held to the end
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert not out.exists()
    assert run(videos, out) == 0
    assert len(by_path(out)) == 5


def test_file_that_timed_out_is_retried_with_more_time(videos, tmp_path, monkeypatch):
    out = tmp_path / "m.parquet"
    tried = []

    def give_up(function, items, *, workers, time_limit):
        for item in items:
            tried.append(item.name)
            yield item, Failure(f"took longer than {time_limit:g} s", killed=True)

    monkeypatch.setattr(make_manifest, "run_killable", give_up)
    assert run(videos, out, "--time-limit", "5") == 1  # nothing can be used
    row = by_path(out)["real/anna.mp4"]
    assert (row.file.error, row.stopped_after) == ("took longer than 5 s", 5.0)
    assert row.sha256 == by_path(out)["fake/anna__copy.mp4"].sha256
    tried.clear()
    run(videos, out, "--time-limit", "5")
    assert tried == []
    run(videos, out, "--time-limit", "6")
    assert len(tried) == 4


def test_duplicates_are_written(videos, tmp_path, serial, capsys):
    out = tmp_path / "m.parquet"
    assert run(videos, out, "--duplicates") == 0
    with (tmp_path / "m.parquet.duplicates.csv").open() as file:
        lines = [(row["group"], row["match"], row["path"]) for row in csv.DictReader(file)]
    assert ("1", "bytes", "fake/anna__copy.mp4") in lines
    assert ("1", "bytes", "real/anna.mp4") in lines
    said = capsys.readouterr().out
    assert "same bytes: 1 groups, 2 files; 1 groups of different source clips" in said
    assert "fake/anna__copy.mp4 = real/anna.mp4" in said


def test_wrong_requests(videos, tmp_path):
    out = tmp_path / "m.parquet"
    with pytest.raises(UserError, match="no such folder; give the root of the videos"):
        run(tmp_path / "missing", out)
    with pytest.raises(UserError, match="no video files in the layout fakeavceleb"):
        run(videos, out, "--layout", "fakeavceleb")
    with pytest.raises(UserError, match="is a folder; --out takes the name of a file"):
        run(videos, tmp_path)
    with pytest.raises(UserError, match=r"a manifest is a Parquet file; give --out a name that ends in \.parquet"):
        run(videos, tmp_path / "m.csv")
    for option, value in (("--workers", "-1"), ("--workers", "1025"), ("--time-limit", "nan"), ("--time-limit", "inf")):
        with pytest.raises(UserError, match="--workers takes a whole number of 0 or more, up to 1024, --time-limit"):
            run(videos, out, option, value)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        run(videos, tmp_path / "file" / "m.parquet")
    out.write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match="not a Parquet file, or damaged"):
        run(videos, out)
    assert out.read_bytes() == b"PAR1 damaged"


def test_two_runs_on_one_output(videos, tmp_path):
    with (tmp_path / ".m.parquet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing to it"):
            run(videos, tmp_path / "m.parquet")


def test_broken_link_is_listed(videos, tmp_path, serial):
    os.symlink(tmp_path / "nowhere.mp4", videos / "real" / "link.mp4")
    assert run(videos, tmp_path / "m.parquet") == 0
    assert by_path(tmp_path / "m.parquet")["real/link.mp4"].file.error == "cannot be read (No such file or directory)"
