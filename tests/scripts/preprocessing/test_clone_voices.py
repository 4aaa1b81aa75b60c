import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avdfd.config import CloneConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import locked
from avdfd.corpora.cloning import clips as cloning_clips
from avdfd.corpora.cloning import output, scores
from avdfd.corpora.inventory import read_streams
from avdfd.corpora.layouts import list_entries
from avdfd.media.audio import read_waveform
from data.corpus.speech import Voice, speak
from data.preprocessing import clone_voices, codec_parity
from tests.helpers.in_process import run_in_process
from tests.helpers.recordings import record
from tests.paths import ROOT

FOLDER = "RealVideo-RealAudio/African/men"
TEXTS = ("my brother painted the old bridge", "the captain found five purple flowers", "today the baker opened a box")
VOICES = {"id00001": Voice("m3", 45, 60, 165), "id00002": Voice("f4", 40, 60, 165), "id00003": Voice("m6", 50, 60, 165)}
FRAME = 1 / 25


def clip(path: Path, identity: str, text: int, audio: bool = True) -> Path:
    """Write a clip of speech with a black and white pattern as video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.pad(speak(TEXTS[text], VOICES[identity]).samples, 1_600)
    times = [n * FRAME for n in range(int(len(samples) / 16_000 / FRAME))]
    return record(path, times, samples if audio else None, rate=16_000, size=(64, 64))


@pytest.fixture(scope="session")
def made_root(tmp_path_factory) -> Path:
    """Two clips each of two identities, one clip of a third."""
    root = tmp_path_factory.mktemp("real")
    for identity, texts in (("id00001", (0, 1)), ("id00002", (1, 2)), ("id00003", (0,))):
        for number, text in enumerate(texts):
            clip(root / FOLDER / identity / f"{number:05d}.mp4", identity, text)
    return root


@pytest.fixture
def one_thread():
    """Use one thread, as in a worker: threads that wait for each other on a busy machine take seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def root(made_root, tmp_path) -> Path:
    return Path(shutil.copytree(made_root, tmp_path / "in"))


@pytest.fixture
def serial(monkeypatch, one_thread) -> list[str]:
    """Work in this process and without DNSMOS, which is faster; lists the processed sources."""
    done: list[str] = []

    run = partial(run_in_process, started=lambda function, item: done.append(item.source))
    monkeypatch.setattr(clone_voices, "run_killable", run)
    monkeypatch.setattr(cloning_clips, "_prepare_worker", lambda: None)
    monkeypatch.setattr(scores, "open_naturalness", lambda: lambda samples: 3.0)
    monkeypatch.setattr(cloning_clips, "_TOOLS", {})
    return done


def config(tmp_path: Path, **values) -> Path:
    path = tmp_path / "clone.json"
    settings = {"kind": "clone", "input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "candidates": 2}
    path.write_text(json.dumps({"workers": 2, "scores": {"min_similarity": 0.5}, **settings, **values}))
    return path


def run(path: Path, *more: str) -> int:
    cloning_clips._TOOLS.clear()
    return clone_voices.main(["--config", str(path), *more])


def command(code: str) -> dict:
    """Return a back end that runs Python with the paths of source, reference and output."""
    line = [sys.executable, "-c", code, "{source}", "{reference}", "{output}"]
    return {"kind": "command", "name": "mine", "command": line}


REVERSE = (
    "import sys; from scipy.io import wavfile; rate, x = wavfile.read(sys.argv[1]);"
    "wavfile.write(sys.argv[3], rate, -x[::-1])"
)
ANY = {"min_similarity": -1.0, "min_envelope": -1.0, "max_naturalness_drop": 5.0}


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def problems(out: Path) -> list[tuple[str, str, str]]:
    with (out / "problems.csv").open() as file:
        return [(Path(row["source"]).parent.name, row["tier"], row["reason"]) for row in csv.DictReader(file)]


def test_whole_script_in_processes_makes_a_root_that_reads_back(root, tmp_path):
    line = [sys.executable, "data/preprocessing/clone_voices.py", "--config", str(config(tmp_path))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "5 real clips, 9 clones" in done.stdout
    assert "1 without RVFA-VC: no other recording of this person" in done.stdout
    out = tmp_path / "out"
    entries = {(e.clip.tier, e.clip.base): e for e in list_entries(out)}
    assert len(entries) == 14
    assert not any(entry.problem for entry in entries.values())
    methods = {"RVRA": "real", "RVFA-VC": "world-vc", "RVFA-SVC": "world-svc"}
    for (tier, base), entry in entries.items():
        assert entry.clip.method == methods[tier]
        assert (entry.clip.race, entry.clip.gender) == ("African", "men")
        assert entry.clip.identities == (Path(base).parent.name,)
        assert packets(entry.clip.path) == packets(root / base)
        shown = len(packets(root / base)) * FRAME
        assert abs(len(read_waveform(entry.clip.path)) / 16_000 - shown) <= FRAME
    assert problems(out) == [("id00003", "RVFA-VC", "no other recording of this person")]
    lines = [json.loads(text) for text in (out / "clones.jsonl").read_text().splitlines()]
    assert len(lines) == 10
    for made in (made for made in lines if made["file"]):
        kept = [c for c in made["candidates"] if not c["reason"]]
        best = max(c["scores"]["similarity"] for c in made["candidates"])
        assert [c["scores"] for c in kept] == [made["scores"]]
        assert made["scores"]["similarity"] == best
        assert (made["reference"] == made["source"]) == (made["tier"] == "RVFA-SVC")
        assert Path(made["reference"]).parent == Path(made["source"]).parent
        original, clone = (read_waveform(path / name) for path, name in ((root, made["source"]), (out, made["file"])))
        both = min(len(original), len(clone))
        assert abs(np.corrcoef(original[:both], clone[:both])[0, 1]) < 0.95
    assert not list((out / ".clones").glob("*.spool"))


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_shards_equal_one_run(root, tmp_path, serial):
    cfg = config(tmp_path, candidates=1)
    assert run(cfg, "--shard=0/2") == 0
    assert run(cfg, "--shard=1/2") == 0
    assert run(cfg, f"--output={tmp_path / 'whole'}") == 0
    parts, whole = content(tmp_path / "out"), content(tmp_path / "whole")
    for made in (parts, whole):
        for name in [name for name in made if name.startswith(".clones/")]:
            del made[name]
    assert parts == whole
    with pytest.raises(UserError, match="parts was 2 and is now 3"):
        run(cfg, "--shard=1/3")


def test_second_run_does_what_is_missing_or_changed(root, tmp_path, serial, capsys):
    cfg, out = config(tmp_path, candidates=1), tmp_path / "out"
    run(cfg)
    before = content(out)
    serial.clear()
    assert run(cfg) == 0
    assert serial == []
    assert content(out) == before
    next(out.glob("RealVideo-FakeAudio-VoiceClone/*/*/id00001/00000*")).unlink()
    clip(root / FOLDER / "id00003" / "00001.mp4", "id00003", 2)
    shutil.rmtree(root / FOLDER / "id00002")
    assert run(cfg) == 0
    names = [f"{Path(source).parent.name}/{Path(source).stem}" for source in serial]
    assert names == ["id00003/00001", "id00001/00000", "id00003/00000", "id00003/00001"]
    assert "2 clips are gone" in capsys.readouterr().out
    after = content(out)
    assert not [name for name in after if "id00002" in name]
    assert problems(out) == []
    assert {n: b for n, b in after.items() if "id00001" in n} == {n: b for n, b in before.items() if "id00001" in n}
    (tmp_path / "other").mkdir()
    clip(tmp_path / "other" / FOLDER / "id00002" / "00009.mp4", "id00002", 0)
    with pytest.raises(UserError, match="none of its clips is under"):
        run(cfg, f"--input={tmp_path / 'other'}")


def test_recordings_of_another_root_are_references(root, tmp_path, serial):
    other = tmp_path / "vox" / "dev" / "id00003" / "abc" / "00001.m4a"
    other.parent.mkdir(parents=True)
    record(other.with_suffix(".mp4"), [], speak(TEXTS[2], VOICES["id00003"]).samples, rate=16_000).rename(other)
    duplicate = other.with_name("00002.m4a")  # the clip itself, encoded again
    original = read_waveform(root / FOLDER / "id00003" / "00000.mp4")
    record(duplicate.with_suffix(".mp4"), [], original, rate=16_000).rename(duplicate)
    other.with_name("00003.m4a").write_text("no audio")
    assert run(config(tmp_path, candidates=1), f"--recordings={tmp_path / 'vox'}") == 0
    assert problems(tmp_path / "out") == [("abc", "", "not a media file")]
    lines = [json.loads(text) for text in (tmp_path / "out" / "clones.jsonl").read_text().splitlines()]
    assert [line["reference"] for line in lines if "id00003" in line["source"] and line["tier"] == "RVFA-VC"] == [
        "recordings/dev/id00003/abc/00001.m4a"
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('out of memory')", "failed (exit code 1): out of memory"),
        ("import shutil, sys; shutil.copy(sys.argv[1], sys.argv[3])", "the result is the source itself"),
        (REVERSE.replace("-x[::-1]", "0 * x"), "the result is silent"),
        (REVERSE.replace("-x[::-1]", "x[:9000]"), "shorter than the source"),
    ],
)
def test_failing_back_end_ends_the_run_without_clones(root, tmp_path, serial, code, reason):
    cfg = config(tmp_path, backend=command(code), candidates=1, give_up=2)
    with pytest.raises(UserError) as caught:
        run(cfg)
    assert "backend command: none of the first 2 clips could be converted" in str(caught.value)
    assert reason in str(caught.value)
    out = tmp_path / "out"
    assert {e.clip.tier for e in list_entries(out)} == {"RVRA"}
    assert len(problems(out)) == 4
    assert all(reason in problem for _, _, problem in problems(out))


def test_back_end_failures_are_retried_but_rejected_candidates_are_not(root, tmp_path, serial):
    broken = tmp_path / "broken"
    broken.touch()
    code = f"import os\nif os.path.exists({str(broken)!r}): raise SystemExit('licence')\n" + REVERSE
    cfg = config(tmp_path, backend=command(code), candidates=1, scores=ANY, tiers=["RVFA-SVC"])
    with pytest.raises(UserError, match="licence"):
        run(cfg)
    broken.unlink()
    serial.clear()
    assert run(cfg) == 0
    assert len(serial) == 5
    assert problems(tmp_path / "out") == []
    strict = {**ANY, "min_similarity": 1.0}
    assert run(cfg, f"--scores={json.dumps(strict)}", f"--output={tmp_path / 'strict'}") == 1
    assert len(problems(tmp_path / "strict")) == 5
    assert "similarity" in problems(tmp_path / "strict")[0][2]
    assert {e.clip.tier for e in list_entries(tmp_path / "strict")} == {"RVRA"}
    serial.clear()
    assert run(cfg, f"--scores={json.dumps(strict)}", f"--output={tmp_path / 'strict'}") == 1
    assert serial == []


def test_clips_that_cannot_be_used_are_listed(root, tmp_path, serial, capsys):
    clip(root / FOLDER / "id00002" / "00001.mp4", "id00002", 0, audio=False)
    (root / FOLDER / "id00003" / "00000.mp4").write_text("no video")
    assert run(config(tmp_path, candidates=1)) == 1
    assert problems(tmp_path / "out") == [
        ("id00002", "RVFA-VC", "no other recording of this person"),
        ("id00002", "", "no audio stream"),
        ("id00003", "", "not a media file"),
    ]
    captured = capsys.readouterr()
    assert "5 real clips, 5 clones" in captured.out
    assert "error: 4 of 10 clones could not be made, more than max_problems = 0.05" in captured.err


def test_wrong_requests_end_before_the_work(root, tmp_path, serial):
    cfg = config(tmp_path, candidates=1, tiers=["RVFA-SVC"])
    for change, message in (
        (f"--input={tmp_path / 'missing'}", "no such folder"),
        (f"--input={tmp_path}", "has no RealVideo-RealAudio"),
        (f"--output={root / 'inside'}", "lies within the input"),
        (f"--output={ROOT / 'config'}", "holds other files and no cloned clips"),
        ("--shard=4/4", "write i/n"),
        ('--backend={"kind": "seed-vc", "checkout": "nowhere", "python": "python"}', "has no inference_v2.py"),
        ('--scores={"recogniser": ["no-such-program", "{sound}"]}', "scores.recogniser: no program"),
        ('--scores={"recogniser": ["true"]}', "no argument has {sound} in it"),
        ('--encoder={"kind": "ecapa", "folder": "nowhere"}', "SpeechBrain is not installed|no hyperparams"),
    ):
        with pytest.raises(UserError, match=message):
            run(cfg, change)
    assert serial == []
    run(cfg)
    with pytest.raises(UserError, match="candidates was 1 and is now 3.*choose another output"):
        run(cfg, "--candidates=3")
    with (
        locked(tmp_path / "out" / ".clones" / "0-of-1.lock", tmp_path / "out"),
        pytest.raises(UserError, match="another run is writing"),
    ):
        run(cfg)
    assert run(cfg, "--workers=1", "--time_limit=10.0") == 0  # changes no clip


def test_full_disk_names_the_file_and_a_second_run_resumes(root, tmp_path, serial, monkeypatch):
    cfg, out = config(tmp_path, candidates=1, tiers=["RVFA-SVC"]), tmp_path / "out"
    write, room = cloning_clips.replace_audio, [3]

    def full(video, samples, path, chain, reading):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(video, samples, path, chain, reading)

    monkeypatch.setattr(cloning_clips, "replace_audio", full)
    with pytest.raises(OSError, match="No space left"):
        run(cfg)
    assert len(list_entries(out)) == 2
    monkeypatch.setattr(cloning_clips, "replace_audio", write)
    assert run(cfg) == 0
    assert run(cfg, f"--output={tmp_path / 'whole'}") == 0
    assert content(out) == content(tmp_path / "whole")


def test_killed_run_resumes_to_byte_identical_output(root, tmp_path, one_thread, monkeypatch):
    shutil.rmtree(root / FOLDER / "id00002")
    cfg = config(tmp_path, candidates=1, tiers=["RVFA-SVC"], workers=1)
    line = [sys.executable, "data/preprocessing/clone_voices.py", "--config", str(cfg)]
    monkeypatch.setattr(clone_voices, "run_killable", run_in_process)
    monkeypatch.setattr(cloning_clips, "_prepare_worker", lambda: None)
    monkeypatch.setattr(cloning_clips, "_TOOLS", {})
    assert run(cfg, f"--output={tmp_path / 'whole'}") == 0
    rng = random.Random(0)
    journal = tmp_path / "out" / ".clones" / "0-of-1.clips.jsonl"
    for kill in (os.killpg, os.kill):  # the whole job, or the script alone, whose workers must end with it
        with subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            size = journal.stat().st_size if journal.exists() else 0
            while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.5))
            kill(process.pid, signal.SIGKILL)
    assert journal.read_bytes().count(b"\n") > 0
    subprocess.run(line, cwd=ROOT, capture_output=True, check=True, timeout=200)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_shipped_config_loads_and_every_key_is_classified():
    cfg = load(ROOT / "config" / "clone_voices.json", CloneConfig)
    known = output.settings(cfg, clone_voices.parse_shard("0/1"))
    assert {"form", "parts", "candidates", "seed", "tiers", "backend.kind", "encoder.kind", "chain.rate"} <= set(known)
    assert not {"input", "output", "workers", "time_limit"} & set(known)


def test_raw_clones_pass_the_chain_with_the_other_tiers(root, tmp_path, serial, monkeypatch):
    assert run(config(tmp_path), "--raw=true") == 0
    out = tmp_path / "out"
    entries = list_entries(out)
    assert {entry.clip.tier for entry in entries} == {"RVFA-VC", "RVFA-SVC"}
    assert {read_streams(entry.clip.path).audio_codec for entry in entries} == {"alac"}
    with pytest.raises(UserError, match="raw"):
        run(config(tmp_path))

    shutil.copytree(out, root, dirs_exist_ok=True)
    parity = tmp_path / "parity.json"
    parity.write_text(json.dumps({"kind": "parity", "input": str(root), "output": str(tmp_path / "all")}))
    monkeypatch.setattr(codec_parity, "run_killable", run_in_process)
    assert codec_parity.main(["--config", str(parity), "--max_problems=1.0"]) == 0
    made = list_entries(tmp_path / "all")
    versions = Counter(entry.clip.base for entry in made if entry.clip.tier != "RVRA")
    assert set(versions) <= {entry.clip.source for entry in made if entry.clip.tier == "RVRA"}
    assert versions.total() == len(entries)
    assert {read_streams(entry.clip.path).audio_codec for entry in made} == {"aac"}
