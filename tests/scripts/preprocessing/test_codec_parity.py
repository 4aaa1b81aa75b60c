"""codec_parity.py: new clips, unchanged clips, kills, shards."""

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.config import ChainConfig
from avdfd.core import leftovers
from avdfd.core.errors import UserError
from avdfd.corpora.layouts import find_layout, list_entries
from avdfd.evaluation.audit.files import measure
from avdfd.media.remux import replace_audio
from data.preprocessing import codec_parity
from tests.helpers.in_process import run_in_process
from tests.helpers.recordings import record
from tests.helpers.videos import make_video
from tests.paths import ROOT

SCRIPT = "data/preprocessing/codec_parity.py"
REAL = "RealVideo-RealAudio/African/men/id00001/00001.mp4"
FAKE = "RealVideo-FakeAudio-VoiceClone/African/men/id00001/00001_vc.mp4"
OTHER = "RealVideo-RealAudio/African/women/id00002/00007.mp4"
MUTE = "RealVideo-RealAudio/African/women/id00002/00008.mp4"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A recording with a fake of it that is louder and begins later, another recording, and a clip without audio."""
    root = tmp_path_factory.mktemp("template") / "videos"
    for source in (REAL, FAKE, OTHER, MUTE):
        (root / source).parent.mkdir(parents=True, exist_ok=True)
    make_video(root / REAL, 2.0, size=64)
    make_video(root / OTHER, 1.0, size=64)
    make_video(root / MUTE, 1.0, size=64, audio=None)
    late = np.random.default_rng(1).normal(0, 0.3, 44_100 * 2).astype(np.float32)
    late[:22_050] = 0
    replace_audio(root / REAL, late, root / FAKE, ChainConfig(rate=44_100, bit_rate=96_000))
    (root / "meta_data.csv").write_text("source,method,type,path\nid00001,real,RealVideo-RealAudio,00001.mp4\n")
    return root


@pytest.fixture
def videos(template, tmp_path) -> Path:
    return shutil.copytree(template, tmp_path / "videos")


@pytest.fixture
def serial(monkeypatch) -> list[tuple[str, str]]:
    """Work in this process, which is faster; lists the calls."""
    done: list[tuple[str, str]] = []

    def note(function, item):
        path = getattr(item, "path", item)
        done.append((function.func.__name__, path.name))

    monkeypatch.setattr(codec_parity, "run_killable", partial(run_in_process, started=note))
    return done


def run(root: Path, out: Path, *more: str) -> int:
    config = out.parent / "config.json"
    config.write_text(json.dumps({"kind": "parity", "input": str(root), "output": str(out), "max_problems": 0.5}))
    return codec_parity.main(["--config", str(config), *more])


def tree(root: Path) -> dict[str, bytes]:
    """Return all files of a root except locks."""
    files = (path for path in root.rglob("*") if path.is_file() and "lock" not in path.name)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def problems(out: Path) -> dict[str, str]:
    with (out / "problems.csv").open(newline="") as file:
        return {row["source"]: row["reason"] for row in csv.DictReader(file)}


def test_whole_script_in_processes(videos, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, SCRIPT, f"--input={videos}", f"--output={out}", "--workers=1", "--max_problems=0.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert f"{out}: 4 files, 3 present (3 made now), 1 could not be made" in done.stdout
    assert "1 of 4 files could not be made, more than max_problems = 0.2" in done.stderr
    assert problems(out) == {MUTE: "no audio stream"}
    assert {path for path in tree(out) if path.endswith(".mp4")} == {REAL, FAKE, OTHER}
    assert (out / "meta_data.csv").read_bytes() == (videos / "meta_data.csv").read_bytes()


def test_versions_of_a_recording_have_equal_cues(videos, tmp_path, serial):
    assert run(videos, tmp_path / "out") == 0
    before = [measure(videos / source) for source in (REAL, FAKE)]
    after = [measure(tmp_path / "out" / source) for source in (REAL, FAKE)]
    for cue, slack in (("sample_rate", 0), ("loudness", 0.05), ("edge_silence", 0.02), ("spectral_edge", 0)):
        assert abs(before[0][cue] - before[1][cue]) > slack
        assert abs(after[0][cue] - after[1][cue]) <= slack
    assert after[0]["duration"] == after[1]["duration"] == pytest.approx(2.0, abs=0.064)


def test_audio_files_become_wav_through_one_codec_each(tmp_path, serial):
    root, out = tmp_path / "speech", tmp_path / "out"
    root.mkdir()
    voice = np.random.default_rng(0).normal(0, 0.1, 3 * 24_000)
    for name in ("real.wav", "fake.flac"):
        codec = "flac" if name.endswith("flac") else "pcm_s16le"
        record(root / name, [], voice, rate=24_000, audio_codec=codec)
    (root / "clips.csv").write_text(
        "file,tier,identity,base,method,page\nreal.wav,RVRA,anna,,,p\nfake.flac,RVFA-SVC,anna,real.wav,w,p\n"
    )
    codecs = '--chain.codecs=[{"name": "mulaw"}, {"name": "opus", "bit_rate": 16000}]'
    with pytest.raises(UserError, match="no video files"):
        run(root, out)
    assert run(root, out, "--sound=true", codecs) == 0
    real, fake = (measure(out / name) for name in ("real.wav", "fake.wav"))
    assert real["sample_rate"] == fake["sample_rate"] == 16_000
    assert real["duration"] == fake["duration"] == pytest.approx(3.0, abs=0.064)
    assert real["loudness"] == pytest.approx(fake["loudness"], abs=0.5)
    [kept] = [entry.clip for entry in list_entries(out, audio=True) if entry.clip.source == "fake.wav"]
    assert (kept.page, kept.base, kept.tier) == ("p", "real.wav", "RVFA-SVC")
    first = tree(out)
    serial.clear()
    assert run(root, out, "--sound=true", codecs) == 0
    assert (serial, tree(out)) == ([], first)
    assert run(root, tmp_path / "again", "--sound=true", codecs) == 0
    assert (tmp_path / "again" / "fake.wav").read_bytes() == first["fake.wav"]


def test_draws_differ_in_their_codecs_alone(tmp_path, serial):
    root, chain = tmp_path / "speech", ['--chain.codecs=[{"name": "mulaw"}, {"name": "opus", "bit_rate": 16000}]']
    root.mkdir()
    for number in range(6):
        voice = np.random.default_rng(number).normal(0, 0.1, 16_000)
        record(root / f"{number}.wav", [], voice, rate=16_000, audio_codec="pcm_s16le")
    rows = "".join(f"{number}.wav,real\n" for number in range(6))
    (root / "clips.csv").write_text(f"file,label\n{rows}")
    made = []
    for name, draw in (("a", 0), ("b", 1), ("c", 1)):
        assert run(root, tmp_path / name, "--sound=true", *chain, f"--chain.draw={draw}") == 0
        made.append({key: data for key, data in tree(tmp_path / name).items() if key.endswith(".wav")})
    assert made[1] == made[2]
    assert 0 < sum(made[0][name] != made[1][name] for name in made[0]) < 6, "some clips draw the same codec again"


def test_videos_keep_their_edges_and_the_summary_says_so(videos, tmp_path, serial, capsys):
    assert run(videos, tmp_path / "a", "--chain.edge_silence=[0.05, 0.25]") == 0
    assert "videos keep their own edge silence" in capsys.readouterr().out
    assert run(videos, tmp_path / "b") == 0
    assert "keep their own edge silence" not in capsys.readouterr().out
    clips = [{key: data for key, data in tree(tmp_path / name).items() if key.endswith(".mp4")} for name in "ab"]
    assert clips[0] == clips[1]


def test_video_packets_are_copied(videos, tmp_path, serial):
    run(videos, tmp_path / "out")
    packets = []
    for root in (videos, tmp_path / "out"):
        with av.open(str(root / FAKE)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
    assert packets[0] == packets[1]


def test_second_run_does_what_is_missing_or_changed(videos, tmp_path, serial):
    out = tmp_path / "out"
    run(videos, out)
    first = tree(out)
    serial.clear()
    assert run(videos, out) == 0
    assert (serial, tree(out)) == ([], first)

    (out / OTHER).unlink()
    (out / REAL).write_bytes(b"half")
    run(videos, out)
    assert serial == [("make", "00001.mp4"), ("make", "00007.mp4")]
    assert tree(out) == first

    serial.clear()  # the real clip shares edges with its fake: a new fake requires a new real clip
    make_video(videos / FAKE, 2.0, size=64)
    run(videos, out)
    assert serial == [("measure", "00001_vc.mp4"), ("make", "00001.mp4"), ("make", "00001_vc.mp4")]
    assert tree(out)[REAL] != first[REAL]


def test_removed_or_broken_input_has_no_output(videos, tmp_path, serial):
    out = tmp_path / "out"
    run(videos, out)
    (videos / OTHER).unlink()
    (videos / FAKE).write_text("no video")
    run(videos, out)
    assert {path for path in tree(out) if path.endswith(".mp4")} == {REAL}
    assert problems(out) == {FAKE: "not a media file", MUTE: "no audio stream"}


def test_shards_equal_one_run(videos, tmp_path, serial):
    run(videos, tmp_path / "one")
    for number in (2, 0, 1):
        run(videos, tmp_path / "many", "--shard", f"{number}/3", "--max_problems=1.0")
    assert tree(tmp_path / "many") == tree(tmp_path / "one")
    serial.clear()
    run(videos, tmp_path / "many")
    assert serial == []


@pytest.mark.parametrize("after", [0.05, 0.4])
def test_killed_run_resumes(videos, tmp_path, serial, after):
    run(videos, tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, SCRIPT, f"--input={videos}", f"--output={out}", "--workers=1", "--max_problems=0.5"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not list(out.glob(".parity/*/*/*/*/*.json")):
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (out / ".parity" / REAL).parent.mkdir(parents=True, exist_ok=True)
    for path in (out / REAL, out / ".parity" / f"{REAL}.json"):  # left by a kill during a write
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / f".{path.name}.abcd_123{leftovers.SUFFIX}").write_text("half")
    run(videos, out)
    assert tree(out) == tree(tmp_path / "whole")


def test_other_layouts_get_a_table(tmp_path, serial):
    root, out = tmp_path / "videos", tmp_path / "out"
    for name in ("real/anna__1.mp4", "fake/anna__2.mkv"):
        (root / name).parent.mkdir(parents=True)
        make_video(root / name, 1.0, size=64)
    assert run(root, out) == 0
    assert find_layout(out) == "csv"
    entries = {entry.clip.source: entry for entry in list_entries(out)}
    assert {source: (e.clip.tier, e.clip.identities, e.problem) for source, e in entries.items()} == {
        "real/anna__1.mp4": ("RVRA", ("anna",), ""),
        "fake/anna__2.mp4": ("FAKE", ("anna",), ""),
    }


def test_two_clips_that_would_be_one_file(tmp_path, serial):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    for name in ("a.mkv", "a.mp4"):
        make_video(root / "real" / name, 1.0, size=64)
    assert run(root, tmp_path / "out") == 0
    assert problems(tmp_path / "out") == {"real/a.mp4": "would be the same file as real/a.mkv"}
    assert (tmp_path / "out" / "real" / "a.mp4").exists()


def test_other_tiers_are_left_alone(videos, tmp_path, serial):
    out = tmp_path / "out"
    run(videos, out)
    first = tree(out)
    run(videos, out, '--tiers=["RVRA"]')
    assert tree(out)[FAKE] == first[FAKE]


@pytest.mark.parametrize("place", ["videos", "videos/out", "."])
def test_output_and_input_may_not_overlap(videos, tmp_path, place):
    with pytest.raises(UserError, match="lies within the input"):
        run(videos, tmp_path / "videos" / ".." / place)


def test_wrong_outputs(videos, tmp_path, serial):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        run(videos, tmp_path / "full")
    out = tmp_path / "out"
    run(videos, out)
    with pytest.raises(UserError, match="chain.bit_rate was 64000 and is now 48000.*choose another output"):
        run(videos, out, "--chain.bit_rate=48000")
    with open(out / ".parity" / "part-0-of-1.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing to it"):
            run(videos, out)
    elsewhere = make_video(tmp_path / "b.mp4", 1.0, size=64)
    (tmp_path / "other" / "real").mkdir(parents=True)
    elsewhere.rename(tmp_path / "other" / "real" / "b.mp4")
    first = tree(out)
    with pytest.raises(UserError, match="none of its clips is under the input"):
        run(tmp_path / "other", out)
    assert {path for path in first if path.endswith(".mp4")} <= tree(out).keys()


def test_missing_root(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
