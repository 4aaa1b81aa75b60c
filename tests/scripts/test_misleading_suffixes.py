"""The kind of a file is that of its content, whatever its suffix: a folder of misleading names through the scripts."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import detect
from avdfd.corpora import audio_files
from avdfd.corpora.layouts import list_entries
from avdfd.corpora.manifest import read_manifest
from avdfd.elements import ElementStore
from avdfd.media import face_windows
from avdfd.media.streams import has_video
from data import preprocess
from data.preprocessing import codec_parity, make_manifest
from tests.helpers.in_process import run_in_process
from tests.helpers.recordings import clicks, record
from tests.helpers.runs import make_run
from tests.helpers.videos import make_video

SHOWN = {"real/video.wav", "real/bare"}
ALONE = {"real/voice.mp4", "real/alone.mkv", "real/speech"}
NO_VIDEO = {"real/voice.mp4": "no video stream", "real/alone.mkv": "no video stream"}
"""Refused when they are read, as their suffixes say video."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Videos named as audio and without a suffix, WAV named as video and without a suffix, audio in a container of
    video, text that is named so, and a hidden video."""
    root = tmp_path_factory.mktemp("videos")
    (root / "real").mkdir()
    make_video(root / "film.mp4", 3.2, size=224).rename(root / "real" / "video.wav")
    make_video(root / "film.mp4", 3.2, size=224).rename(root / "real" / "bare")
    (root / "real" / ".hidden").write_bytes((root / "real" / "bare").read_bytes())
    for name in ("voice.mp4", "speech"):
        voice = record(root / "a.wav", [], clicks(3.3, 16_000, [1.0]), rate=16_000, audio_codec="pcm_s16le")
        voice.rename(root / "real" / name)
    record(root / "real" / "alone.mkv", [], clicks(3.4, 16_000, [1.0]), rate=16_000)
    (root / "real" / "notes.txt").write_text("the free text of a moving image")
    return root


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Work without worker processes, which take seconds to start."""
    for module in (detect, preprocess, codec_parity, make_manifest, audio_files):
        monkeypatch.setattr(module, "run_killable", run_in_process)


def rows(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["source"]: row["reason"] for row in csv.DictReader(file)}


LEFT_OUT = {"real/.hidden": "a hidden file", "real/notes.txt": "no media file, by its suffix and content"}
SPEECH = {"real/speech": "an audio file, where videos are read"}


def test_manifest(videos, tmp_path):
    assert make_manifest.main(["--root", str(videos), "--out", str(tmp_path / "m.parquet")]) == 0
    found = {row.source: row for row in read_manifest(tmp_path / "m.parquet")}
    assert {source: row.file.error for source, row in found.items()} == dict.fromkeys(SHOWN, "") | NO_VIDEO
    assert {source: row.has_video for source, row in found.items() if source in NO_VIDEO} == dict.fromkeys(
        NO_VIDEO, "no"
    )
    table = pq.read_table(tmp_path / "m.parquet").to_pydict()
    labels = dict(zip(table["path"], table["label_video"], strict=True))
    assert labels == dict.fromkeys(SHOWN, 0) | dict.fromkeys(NO_VIDEO, None)
    assert rows(tmp_path / "m.parquet.left_out.csv") == LEFT_OUT | SPEECH


def elements(videos: Path, out: Path, keep: list[str]) -> dict[str, tuple[int | None, str]]:
    """Return video label and fact of the sources in a store made from the videos."""
    values = {"kind": "preprocess", "input": str(videos), "output": str(out), "workers": 1, "max_quarantined": 0.5}
    face = {} if "frames" not in keep else {"face": None}
    (out.parent / "config.json").write_text(json.dumps({**values, "media": {"keep": keep, **face}}))
    assert preprocess.main(["--config", str(out.parent / "config.json")]) == 0
    return {meta.source: (meta.label_video, meta.has_video) for meta in ElementStore(out).metas}


def test_elements_of_videos(videos, tmp_path):
    found = elements(videos, tmp_path / "out", ["waveform", "frames"])
    assert found == dict.fromkeys(SHOWN, (0, "yes"))
    assert rows(tmp_path / "out" / "quarantine.csv") == NO_VIDEO
    assert rows(tmp_path / "out" / "left_out.csv") == LEFT_OUT | SPEECH


def test_elements_of_audio_have_a_video_label_if_the_file_has_video(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(face_windows, "FaceTracker", lambda config: pytest.fail("looked for a face"))
    found = elements(videos, tmp_path / "out", ["waveform", "mel"])
    assert found == dict.fromkeys(SHOWN, (0, "yes")) | dict.fromkeys(ALONE, (None, "no"))
    assert rows(tmp_path / "out" / "quarantine.csv") == {}
    assert rows(tmp_path / "out" / "left_out.csv") == LEFT_OUT


def test_codec_parity_and_a_change_of_what_it_takes(videos, tmp_path):
    out = tmp_path / "out"
    arguments = ["--config", "config/codec_parity.json", f"--input={videos}", f"--output={out}", "--max_problems=0.5"]

    def made() -> dict[str, bool]:
        files = [path for path in (out / "real").iterdir() if path.is_file()]
        return {path.name: has_video(path) for path in sorted(files)}

    films = {"bare.mp4": True, "video.mp4": True}
    voices = {"alone.wav": False, "speech.wav": False, "voice.wav": False}
    assert codec_parity.main([*arguments, "--sound=true"]) == 0
    assert made() == films | voices
    assert {entry.clip.source for entry in list_entries(out, audio=True)} == {f"real/{name}" for name in made()}
    assert codec_parity.main(arguments) == 0
    assert made() == films
    assert rows(out / "problems.csv") == NO_VIDEO
    assert rows(out / "left_out.csv") == LEFT_OUT | SPEECH
    assert codec_parity.main([*arguments, "--sound=true"]) == 0
    assert made() == films | voices
    assert rows(out / "problems.csv") == {}


def test_detection(videos, tmp_path, capsys):
    run = make_run(tmp_path, "train")
    assert detect.main(["--run", str(run), str(videos), "--whole-frame", "--json"]) == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    basis = {Path(line["file"]).relative_to(videos).as_posix(): line["basis"] for line in lines}
    assert basis == dict.fromkeys(SHOWN, "audio and video") | dict.fromkeys(ALONE, "audio alone")
    for name in LEFT_OUT:
        assert f"{videos / name}: left out: hidden, or no media file, by its suffix and content" in said.err
