"""preprocess.py: files that are read, listed, and decoded a second time."""

import json
import os
import subprocess
import sys

import pytest

from avdfd.config import PreprocessConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.core.workers import Failure
from avdfd.elements import ElementStore
from data import preprocess
from data.preprocessing import make_manifest, verify_store
from tests.helpers.elements import members
from tests.helpers.in_process import run_in_process
from tests.helpers.preprocessing import config, quarantine, root, run, video
from tests.helpers.recordings import frame_number
from tests.paths import ROOT


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


def test_workers_do_without_torch():
    code = "import sys, data.preprocess; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


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
