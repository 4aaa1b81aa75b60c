import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import webdataset

from avdfd.config import MediaConfig, PreprocessConfig, ReconstructionConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.core.workers import Failure
from avdfd.datasets.loaders import Inputs, stack
from avdfd.elements import ElementStore
from avdfd.elements.form import frame_sizes
from avdfd.elements.layout import left_out_by_truth, media_of, read_settings
from avdfd.media.reconstruction import Reconstruction
from avdfd.media.windows import extract
from data import preprocess
from data.preprocessing import make_manifest, verify_store
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.in_process import run_in_process
from tests.helpers.recordings import clicks, frame_number, record
from tests.paths import ROOT
from tests.unit.elements.test_store import members


def video(path: Path, seconds: float = 3.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [n / 25 for n in range(round(25 * seconds))]
    return record(path, times, clicks(seconds, 16_000, [1.0]), rate=16_000)


def root(folder: Path) -> Path:
    """Two good clips, one without audio, one that is text."""
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
    """Decode in this process, which is faster; lists the decoded files."""
    done: list[str] = []

    run = partial(run_in_process, started=lambda function, item: done.append(item.source))
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
    assert [frame_number(image) for image in element.frames] == pytest.approx([37.5, 77.5, 113.5], abs=0.51)
    assert store.metas[0].sha256 == sha256_of(tmp_path / "videos" / "fake" / "anna__swap.mp4")
    assert quarantine(tmp_path) == {"fake/text.mp4": "not a media file", "real/mute.mp4": "no audio stream"}


def test_whole_clips(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4", 1.2)
    video(tmp_path / "videos" / "fake" / "anna__swap.mp4", 5)
    video(tmp_path / "videos" / "real" / "bert.mp4", 0.6)
    media = {"whole": True, "max_seconds": 4.0, "keep": ["waveform", "frames"]}
    assert run(config(tmp_path, media=media)) == 0
    store = ElementStore(tmp_path / "elements", whole=True)
    assert [(m.source, m.start, m.end) for m in store.metas] == [
        ("fake/anna__swap.mp4", 0, 4),
        ("real/anna.mp4", 0, 1.2),
    ]
    element = store.read(store.metas[0].key, waveform=True, mel=False, frames=range(500))
    assert (len(element.waveform), len(element.frames)) == (64_000, 100)
    assert list(quarantine(tmp_path)) == ["real/bert.mp4"]
    assert "media.hop" in json.loads((tmp_path / "elements" / "store.json").read_text())["settings"]
    with pytest.raises(UserError, match="media.whole was true and is now null"):
        run(config(tmp_path))
    with pytest.raises(UserError, match="whole clips have no mel: set keep to waveform and frames"):
        run(config(tmp_path, media={"whole": True}))


def test_second_run_does_nothing(tmp_path, serial):
    root(tmp_path / "videos")
    assert run(config(tmp_path)) == 0
    assert len(serial) == 4
    index = (tmp_path / "elements" / "journal-000.jsonl").read_bytes()
    os.utime(tmp_path / "videos" / "real" / "anna.mp4")  # a new time alone is no change
    serial.clear()
    assert run(config(tmp_path)) == 0
    assert serial == []
    assert (tmp_path / "elements" / "journal-000.jsonl").read_bytes() == index


def test_damaged_clip_is_named_and_made_again(tmp_path, serial, capsys):
    for name in ("real/anna.mp4", "real/bob.mp4"):
        video(tmp_path / "videos" / name)
    assert run(config(tmp_path)) == 0
    root, shard = tmp_path / "elements", tmp_path / "elements" / "shard-000-00000.tar"
    assert verify_store.main([str(root)]) == 0
    data = bytearray(shard.read_bytes())
    data[20_000] ^= 1
    shard.write_bytes(data)
    capsys.readouterr()
    assert verify_store.main([str(root)]) == 1
    assert capsys.readouterr().out.startswith(f"{shard}: real/anna_mp4/000000 is damaged (clip real/anna.mp4)\n")
    with pytest.raises(UserError, match=r"shard-000-00000.tar: wav of the clip real/anna.mp4 is damaged"):
        ElementStore(root).read("real/anna_mp4/000000", waveform=True)
    serial.clear()
    assert run(config(tmp_path)) == 0
    assert serial == ["real/anna.mp4"]
    assert verify_store.main([str(root)]) == 0
    assert "2 elements" in capsys.readouterr().out
    assert ElementStore(root).read("real/anna_mp4/000000", waveform=True).waveform.any()


def test_changed_new_and_removed_files_are_followed(tmp_path, serial, capsys):
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


def test_clip_with_changed_facts_is_made_again(tmp_path, serial):
    videos = root(tmp_path / "videos")
    run(config(tmp_path))
    serial.clear()
    (videos / "manifest.csv").write_text("file,identity,fake_method\nreal/anna.mp4,Anna K.,\n")
    run(config(tmp_path))
    assert serial == ["real/anna.mp4"]
    assert ElementStore(tmp_path / "elements").metas[-1].identities == ("Anna K.",)


def test_whole_frames_of_any_video_without_a_face(tmp_path, serial):
    """OpenAVFF's first stage trains on Kinetics, where most videos show no face."""
    times = [n / 25 for n in range(90)]
    (tmp_path / "videos" / "real").mkdir(parents=True)
    for name in ("surfing", "cooking"):
        clip = tmp_path / "videos" / "real" / f"{name}.mp4"
        record(clip, times, clicks(3.6, 16_000, [1.0]), rate=16_000, size=(120, 200))
    assert run(config(tmp_path), "--media.face=null") == 0
    store = ElementStore(tmp_path / "elements")
    assert [meta.source for meta in store.metas] == ["real/cooking.mp4", "real/surfing.mp4"]
    assert frame_number(store.read(store.metas[0].key, frames=[40]).frames[0]) == 40
    assert quarantine(tmp_path) == {}
    assert media_of(tmp_path / "elements").face is None
    with pytest.raises(UserError, match=r"media\.face\.detect_fps was null and is now 2\.5.*choose another output"):
        run(config(tmp_path))


def test_face_of_a_window_is_recorded_and_windows_it_leaves_are_listed(tmp_path, serial):
    """It is in the record and in KEY.json; the columns of the index are as they were."""
    (tmp_path / "videos" / "real").mkdir(parents=True)
    images = [scene([Place(240 + max(0, n - 90) * 25, 130)]) for n in range(160)]
    times = [n / 25 for n in range(160)]
    clip = tmp_path / "videos" / "real" / "leaves.mp4"
    record(clip, times, clicks(6.4, 16_000, [1.0, 4.0]), rate=16_000, size=SIZE, images=images)
    assert run(config(tmp_path)) == 0
    store = tmp_path / "elements"
    [line] = map(json.loads, (store / "journal-000.jsonl").read_text().splitlines())
    [window], [lost] = line["windows"], line["left_out"]
    assert lost["reason"] == "face in the crop for less than 90% of the frames"
    assert f"real/leaves.mp4,{lost['start']},{lost['end']},{lost['reason']}" in (store / "left_out.csv").read_text()
    assert window["face"]["left"] + window["face"]["width"] / 2 == pytest.approx(240, abs=6)
    assert window["face"] | {"left": 0, "top": 0, "width": 0, "height": 0} == {
        "number": 1, "present": 1, "speaks": False, "time": 1.52, "left": 0, "top": 0, "width": 0, "height": 0,
    }  # fmt: skip
    with tarfile.open(store / "shard-000-00000.tar") as shard:
        [member] = [member for member in shard.getmembers() if member.name.endswith(".json")]
        assert json.load(shard.extractfile(member))["face"] == window["face"]
    [meta] = ElementStore(store).metas
    assert (meta.source, meta.start) == ("real/leaves.mp4", 0.0)


def test_the_videos_of_lists_as_openavff_has_them(tmp_path, serial, capsys):
    videos = root(tmp_path / "videos")
    lists = [tmp_path / "trainset.csv", tmp_path / "testset.csv"]
    lists[0].write_text(f"video_name,target\nreal/anna.mp4,0\n{videos}/fake/anna__swap.mp4,1\nreal/anna.mp4,0\n")
    lists[1].write_text("real/gone.mp4,0\nfake/text.mp4,1\nfake,1\n")
    one = config(tmp_path, csv=str(lists[0]))
    assert run(one) == 0
    assert "trainset.csv: 2 videos, 0 of them missing, 1 rows repeat one, 0 left out" in capsys.readouterr().out
    both = f"--csv={json.dumps([str(path) for path in lists])}"
    assert run(one, both, "--max_quarantined=0.5") == 1, "3 of 5 cannot be used"
    assert "5 videos, 2 of them missing" in capsys.readouterr().out
    assert serial == ["fake/anna__swap.mp4", "real/anna.mp4", "fake", "fake/text.mp4", "real/gone.mp4"]
    assert quarantine(tmp_path) == {
        "fake": "a folder, not a file", "fake/text.mp4": "not a media file", "real/gone.mp4": "no such file"
    }  # fmt: skip
    facts = {(meta.source, meta.tier, meta.identities) for meta in ElementStore(tmp_path / "elements").metas}
    assert facts == {
        ("fake/anna__swap.mp4", "FAKE", ("fake/anna__swap",)), ("real/anna.mp4", "RVRA", ("real/anna",))
    }  # fmt: skip
    serial.clear()
    video(videos / "real" / "gone.mp4")
    assert run(one, both, "--max_quarantined=0.5") == 0
    assert serial == ["real/gone.mp4"], "it is there now; the other missing ones are not tried again"
    with pytest.raises(UserError, match="csv and manifest both list the files: give one of them"):
        run(one, "--manifest=m.parquet")
    lists[0].write_text("real/nobody.mp4,0\n")
    with pytest.raises(UserError, match=r"videos: has no video of .*trainset\.csv of the tiers"):
        run(one)


@pytest.mark.usefixtures("serial")
def test_files_that_a_manifest_lists_and_that_are_gone_are_quarantined(tmp_path, monkeypatch):
    """They ended the script before."""
    monkeypatch.setattr(make_manifest, "run_killable", run_in_process)
    videos = root(tmp_path / "videos")
    make_manifest.main(["--root", str(videos), "--out", str(tmp_path / "m.parquet"), "--workers", "1"])
    (videos / "real" / "anna.mp4").unlink()
    assert run(config(tmp_path, manifest=str(tmp_path / "m.parquet"))) == 0
    assert quarantine(tmp_path)["real/anna.mp4"] == "no such file"


def test_changed_setting_is_named_and_nothing_is_changed(tmp_path, serial):
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
    with pytest.raises(UserError, match="none of its clips is under"):
        run(config(tmp_path), f"--input={tmp_path / 'others'}")
    assert len(ElementStore(tmp_path / "elements")) == 2


def test_too_many_failures_exit_1(tmp_path, serial, capsys):
    root(tmp_path / "videos")
    assert run(config(tmp_path), "--max_quarantined=0.4") == 1
    assert "2 of 4 files could not be used, more than max_quarantined = 0.4" in capsys.readouterr().err
    assert len(ElementStore(tmp_path / "elements")) == 2


def test_timed_out_file_is_retried_with_more_time_only(tmp_path, monkeypatch, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    in_process = preprocess.run_killable

    def late(function, items, *, workers, time_limit, ahead):
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
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'elements' / 'shard-000-00000.tar'}: No space left")
    assert "Traceback" not in done.stderr


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


def bytes_of(store: Path) -> dict[str, bytes]:
    """Return all files of a store except locks."""
    return {path.name: path.read_bytes() for path in store.iterdir() if not path.name.startswith(".")}


def many(folder: Path, count: int) -> Path:
    """Clips of two identities, one without audio."""
    for number in range(count):
        video(folder / "real" / f"anna__{number:02d}.mp4")
    record(folder / "real" / "bert__00.mp4", [n / 25 for n in range(90)], None)
    return folder


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


def test_audio_only_from_videos_and_audio_files(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4", 6.5)
    path = tmp_path / "videos" / "fake" / "anna__vc.wav"
    path.parent.mkdir()
    record(path, [], clicks(3.5, 16_000, [1.0]), rate=16_000, audio_codec="pcm_s16le")
    assert run(config(tmp_path)) == 0  # with frames, audio files are not listed
    assert [m.source for m in ElementStore(tmp_path / "elements").metas] == ["real/anna.mp4"] * 2
    assert run(config(tmp_path), '--media.keep=["waveform"]', f"--output={tmp_path / 'audio'}") == 0
    store, whole = ElementStore(tmp_path / "audio"), ElementStore(tmp_path / "elements")
    assert [(m.source, m.start) for m in store.metas] == [
        ("fake/anna__vc.wav", 0.0),
        ("real/anna.mp4", 0.0),
        ("real/anna.mp4", 3.072),
    ]
    one, other = (s.read("real/anna_mp4/003072", waveform=True) for s in (store, whole))
    assert np.array_equal(one.waveform, other.waveform)
    assert np.array_equal(one.mel, other.mel)
    assert len(members(store.root)) == 2 * 3  # metadata and audio


def test_short_clips_are_elements_from_1_s_on(tmp_path, serial, capsys):
    video(tmp_path / "videos" / "real" / "anna.mp4", 2.0)
    video(tmp_path / "videos" / "real" / "less.mp4", 0.8)
    assert run(config(tmp_path, max_quarantined=1.0)) == 0
    assert "2 files, 1 elements, 1 of them short, 1 files quarantined" in capsys.readouterr().out
    (meta,) = ElementStore(tmp_path / "elements").metas
    assert (meta.source, meta.start, meta.end, meta.short) == ("real/anna.mp4", 0, pytest.approx(2, abs=0.05), True)
    assert quarantine(tmp_path)["real/less.mp4"].startswith("shorter than 1 s: 0.")
    more = ("--media.short=false", f"--output={tmp_path / 'windows'}")
    assert run(config(tmp_path, max_quarantined=1.0), *more) == 0
    assert "media.short" not in read_settings(tmp_path / "windows")["settings"], "as in stores made before"
    with pytest.raises(UserError, match="media.short was true and is now null"):
        run(config(tmp_path), "--media.short=false")


def test_audio_of_any_duration_is_repeated_on_request(tmp_path, serial):
    """The metadata of audio files have a page, and no video label."""
    videos = tmp_path / "videos"
    videos.mkdir()
    samples = clicks(0.8, 16_000, [0.3])
    record(videos / "short.wav", [], samples, rate=16_000, audio_codec="pcm_s16le")
    record(videos / "clone.wav", [], clicks(4.0, 16_000, [1.0]), rate=16_000, audio_codec="pcm_s16le")
    (videos / "clips.csv").write_text(
        "file,tier,identity,base,method,page\nshort.wav,RVRA,anna,,,p1\nclone.wav,RVFA-SVC,anna,short.wav,w,p1\n"
    )
    assert run(config(tmp_path), '--media.keep=["waveform"]') == 0
    assert quarantine(tmp_path) == {"short.wav": "shorter than 1 s: 0.80 s of audio"}
    more = ('--media.keep=["waveform"]', "--media.repeat_short=true", f"--output={tmp_path / 'repeated'}")
    assert run(config(tmp_path), *more) == 0
    store = ElementStore(tmp_path / "repeated")
    fake, real = store.metas
    assert (real.source, real.page, real.label_video, real.label_audio) == ("short.wav", "p1", None, 0)
    assert (fake.page, fake.label, fake.label_video, fake.label_audio) == ("p1", 1, None, 1)
    repeated = store.read(real.key, waveform=True).waveform
    assert (real.short, len(repeated)) == (True, 49_152)
    assert np.array_equal(repeated[:12_800], repeated[12_800:25_600])
    assert repeated[:12_800] == pytest.approx(samples, abs=1e-3)
    with pytest.raises(UserError, match="repeat_short is for audio alone"):
        run(config(tmp_path), "--media.repeat_short=true")


@pytest.mark.parametrize("keep", [["waveform", "mel", "frames"], ["mel", "frames"], ["waveform", "frames"]])
def test_members_are_those_of_the_windows(tmp_path, serial, keep):
    """The mel is made in the main process, the rest in workers."""
    files = [video(tmp_path / "videos" / "real" / f"{name}.mp4", seconds) for name, seconds in (("a", 3.6), ("b", 2))]
    assert run(config(tmp_path), f"--media.keep={json.dumps(keep)}") == 0
    expected = [list(window["parts"].items()) for file in files for window in extract(file, MediaConfig(keep=keep))]
    with tarfile.open(tmp_path / "elements" / "shard-000-00000.tar") as archive:
        stored = [(name.split(".", 1)[1], archive.extractfile(name).read()) for name in archive.getnames()]
    assert [part for part in stored if part[0] != "json"] == [part for parts in expected for part in parts]


def test_store_without_short_clips_is_continued_without_them(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path), "--media.short=false") == 0
    with pytest.raises(UserError, match="to continue it without short clips, set --media.short=false; or choose"):
        run(config(tmp_path))
    serial.clear()
    assert run(config(tmp_path), "--media.short=false") == 0
    assert serial == []


def test_workers_do_without_torch():
    code = "import sys, data.preprocess; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_mel_alone(tmp_path, serial):
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path), '--media.keep=["mel"]') == 0
    store = ElementStore(tmp_path / "elements")
    assert store.read(store.metas[0].key).mel.shape == (128, 768)
    with pytest.raises(UserError, match="have no wav"):
        store.read(store.metas[0].key, waveform=True)


def test_frames_alone_are_refused(tmp_path):
    with pytest.raises(UserError, match="frames without audio are no elements"):
        run(config(tmp_path), '--media.keep=["frames"]')


def test_silent_edges_are_left_out_with_their_frames(tmp_path, serial):
    path = tmp_path / "videos" / "real" / "anna.mkv"
    path.parent.mkdir(parents=True)
    samples = np.zeros(16_000 * 6)
    samples[16_000 : 16_000 * 5] = np.random.default_rng(0).normal(0, 0.1, 16_000 * 4)
    record(path, [n / 25 for n in range(150)], samples, rate=16_000, audio_codec="pcm_s16le")
    assert run(config(tmp_path), "--media.trim_silence=true", "--media.hop=0.5") == 0
    store = ElementStore(tmp_path / "elements")
    starts = [m.start for m in store.metas]
    assert starts == pytest.approx([1.0, 1.5], abs=0.03)
    frame = store.read(store.metas[0].key, frames=[0]).frames[0]
    assert frame_number(frame) == pytest.approx(25 * starts[0], abs=0.51)


def partly_fake(folder: Path) -> None:
    """LAV-DF with a real clip and a clip whose third window has fake audio, of three windows each."""
    video(folder / "train" / "000001.mp4", 9.5)
    video(folder / "train" / "000002.mp4", 9.5)
    facts = {"modify_video": False, "split": "train", "original": "train/000001.mp4"}
    rows = [
        {"file": "train/000001.mp4", "modify_audio": False, "fake_periods": [], **facts, "original": None},
        {"file": "train/000002.mp4", "modify_audio": True, "fake_periods": [[3.2, 3.3], [7.0, 7.5]], **facts},
    ]
    (folder / "metadata.json").write_text(json.dumps(rows))


def test_all_windows_are_stored_and_say_what_of_them_is_fake(tmp_path, serial, capsys):
    """A data set whose manifest has fake periods."""
    folder = tmp_path / "videos"
    partly_fake(folder)
    make_manifest.main(["--root", str(folder), "--out", str(tmp_path / "m.parquet"), "--workers", "1"])
    (folder / "metadata.json").unlink()  # the manifest is sufficient
    assert run(config(tmp_path), f"--manifest={tmp_path / 'm.parquet'}", "--media.min_fake=0.5") == 0
    assert "media.min_fake has no effect: all windows are stored; set data.min_fake" in capsys.readouterr().out
    store = ElementStore(tmp_path / "elements")
    assert [(m.tier, m.label, m.start) for m in store.metas] == [
        ("RVRA", 0, 0.0), ("RVRA", 0, 3.072), ("RVRA", 0, 6.144), ("RVFA", 1, 0.0), ("RVFA", 1, 3.072),
        ("RVFA", 1, 6.144),
    ]  # fmt: skip
    assert np.array([m.window for m in store.metas][3:]) == pytest.approx(np.array([[0, 0], [0.1, 0], [0.5, 0]]))
    with tarfile.open(tmp_path / "elements" / "shard-000-00000.tar") as shard:
        facts = json.load(shard.extractfile("train/000002_mp4/003072.json"))
    assert (facts["label"], facts["audio_fake_seconds"], facts["visual_fake_seconds"]) == (1, 0.1, 0.0)
    assert (tmp_path / "elements" / "left_out.csv").read_text().splitlines() == ["source,start,end,reason"]
    assert left_out_by_truth(tmp_path / "elements") == 0
    with pytest.raises(UserError, match=r"has none of the files that .*m.parquet lists"):
        run(config(tmp_path), f"--manifest={tmp_path / 'm.parquet'}", f"--input={tmp_path}")


def test_store_made_when_ground_truth_chose_windows(tmp_path, serial):
    """Such a store is continued if it lost no window by that, and otherwise says how many it lost."""
    video(tmp_path / "videos" / "real" / "anna.mp4")
    assert run(config(tmp_path)) == 0
    store, journal = (tmp_path / "elements" / name for name in ("store.json", "journal-000.jsonl"))
    about = json.loads(store.read_text())
    about["settings"]["media.min_fake"] = 0.1
    store.write_text(json.dumps(about))
    former = {key: value for key, value in json.loads(journal.read_text())["clip"].items() if "_fake_per" not in key}
    record = json.loads(journal.read_text()) | {"clip": former}
    del record["crc32"]
    journal.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    serial.clear()
    assert run(config(tmp_path)) == 0
    assert serial == []  # nothing was decoded again
    lost = [{"start": start, "end": start + 3.072, "reason": "nothing in it is fake"} for start in (3.0, 6.0)]
    journal.write_text(json.dumps(record | {"left_out": lost}, separators=(",", ":")) + "\n")
    assert left_out_by_truth(store.parent) == 2
    with pytest.raises(UserError, match=r"made with other settings \(media.min_fake was 0.1 and is now null\)"):
        run(config(tmp_path))


def test_reconstruction_error_beside_the_mel(tmp_path, serial):
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (4,)}
    unet = diffusers.UNet2DModel(
        sample_size=(128, 256), in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=2,
        add_attention=False, **blocks,
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "unet")
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    model = {"model": str(tmp_path / "unet"), "sha256": sha256_of(weights), "steps": 2, "device": "cpu"}
    video(tmp_path / "videos" / "real" / "anna.mp4")
    media = {"mel_err": model, "keep": ["waveform", "mel"]}
    assert run(config(tmp_path, media=media)) == 0
    store = ElementStore(tmp_path / "elements")
    element = store.read(store.metas[0].key, mel_err=True)
    expected = Reconstruction(ReconstructionConfig(**model)).error(element.mel)
    assert np.abs(element.mel_err - expected).max() < 1e-4
    assert element.mel_err.max() > 0
    inputs = Inputs(None, audio="mel_err")
    assert inputs.prepare(stack([inputs.raw(element)]), None).mel.std().item() == pytest.approx(1, abs=1e-3)
    serial.clear()
    with pytest.raises(UserError, match="sha256 is .*, the config expects 0000"):
        run(config(tmp_path, media={"mel_err": {**model, "sha256": "0" * 64}}), f"--output={tmp_path / 'other'}")
    assert serial == []
    assert not (tmp_path / "other").exists()


def test_other_tools_read_the_shards(tmp_path, serial):
    """Read with `webdataset`, without a decoder of this project."""
    many(tmp_path / "videos", 3)
    assert run(config(tmp_path, max_quarantined=1.0)) == 0
    shard = str(tmp_path / "elements" / "shard-000-00000.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"real/anna__{n:02d}_mp4/000000" for n in range(3)]
    store = ElementStore(tmp_path / "elements")
    for sample, m in zip(samples, store.metas, strict=True):
        assert sample["json"]["source"] == m.source
        assert np.array_equal(sample["mel.npy"], store.read(m.key).mel)
        assert sample["wav"][:4] == b"RIFF"
        assert len(frame_sizes(sample["mjpeg"])) == 77


@pytest.mark.parametrize("name", ["preprocess.json", "demo/preprocess.json", "speech/preprocess.json"])
def test_shipped_configs_load(name):
    assert load(ROOT / "config" / name, PreprocessConfig).media.hop > 0


def test_every_media_key_is_a_setting_of_the_store():
    settings = preprocess.settings(load(ROOT / "config" / "preprocess.json", PreprocessConfig))
    assert set(settings) == {
        "form", "media.decoder", "media.keep",
        "media.short", "media.repeat_short", "media.trim_silence", "media.mel_err", "media.hop", "media.max_windows",
        "media.jpeg_quality", "media.face.detect_fps",
        "media.face.min_score", "media.face.min_found", "media.face.margin",
    }  # fmt: skip
