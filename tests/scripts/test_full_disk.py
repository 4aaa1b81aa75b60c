"""A full disk is one line that names the file or folder; nothing is half-written, and the work resumes with space."""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401 - an optimiser imports it: once here, not in every process

import compare
import detect
import pretrain
from avdfd.core.errors import run_script
from avdfd.corpora.cloning import clips as cloning_clips
from avdfd.corpora.cloning import scores
from data import preprocess
from data.preprocessing import clone_voices, codec_parity, make_manifest
from tests.helpers.in_process import run_in_process
from tests.helpers.runs import epochs, make_run
from tests.helpers.small_disk import run_on_small_disk
from tests.helpers.videos import make_video
from tests.scripts.preprocessing.test_clone_voices import FOLDER
from tests.scripts.preprocessing.test_clone_voices import clip as speech_clip
from tests.scripts.preprocessing.test_clone_voices import config as clone_config
from tests.scripts.preprocessing.test_clone_voices import content as files_of
from tests.scripts.preprocessing.test_clone_voices import run as clone
from tests.scripts.test_compare import evaluated

FILL = "fill"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def outcome(main, arguments) -> tuple[int, str]:
    """Return exit code and error line of a script."""
    said = io.StringIO()
    with (
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        run_script(lambda _: main(arguments))
    return int(end.value.code or 0), "".join(line for line in said.getvalue().splitlines() if line[:5] == "error")


def filled(disk: Path, left: int, main, arguments, then=lambda disk: None):
    """Run a script with so many kB left, and again with all of the disk.

    Returns both outcomes, the files after the first run, and what `then` returns in the end.
    """
    state = os.statvfs(disk)
    with (disk / FILL).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_bsize - left * 1024)
    tempfile.tempdir = str(disk)
    for script in (detect, preprocess, clone_voices, codec_parity, make_manifest):
        vars(script)["run_killable"] = run_in_process
    first = outcome(main, arguments)
    files = {str(path.relative_to(disk)): path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    (disk / FILL).unlink()
    return first, files, outcome(main, arguments), then(disk)


def named(outcome: tuple[int, str], place: Path | str) -> bool:
    return (
        outcome[0] == 1 and outcome[1].startswith(f"error: {place}") and "No space left on device; free" in outcome[1]
    )


def test_training(disk, stage1):
    config = [
        *stage1(),
        "--optim.epochs=1",
        "--optim.warmup_epochs=0",
        "--resume",
        "--data.workers=0",
        f"--runs={disk}",
    ]
    numbers = run_on_small_disk(disk, "16m", lambda: outcome(pretrain.main, config) and epochs(disk / "one"))
    for left, place in ((0, "tensorboard"), (8, "log.txt"), (1500, "metrics.jsonl")):
        arguments = (disk, left, pretrain.main, config, lambda disk: epochs(disk / "one"))
        first, _, second, found = run_on_small_disk(disk, "16m", filled, *arguments)
        assert named(first, disk / "one" / place)
        assert second == (0, "")
        assert found == numbers


def test_elements(disk, tmp_path):
    (tmp_path / "videos" / "real").mkdir(parents=True)
    (tmp_path / "videos" / "fake").mkdir()
    make_video(tmp_path / "videos" / "real" / "a.mp4")
    shutil.copy(tmp_path / "videos" / "real" / "a.mp4", tmp_path / "videos" / "fake" / "b.mp4")
    arguments = ["--config", "config/preprocess.json", f"--input={tmp_path / 'videos'}", f"--output={disk / 'e'}"]
    arguments += ["--media.face=null", '--media.keep=["waveform", "mel", "frames"]']

    def content(disk):
        return {path.name: path.read_bytes() for path in (disk / "e").iterdir() if path.suffix in (".tar", ".jsonl")}

    whole = run_on_small_disk(disk, "32m", lambda: outcome(preprocess.main, arguments) and content(disk))
    for left, place in ((100, "e/.spool-000"), (1000, "e/shard-000-00000")):
        first, _, second, found = run_on_small_disk(
            disk, "32m", filled, disk, left, preprocess.main, arguments, content
        )
        assert named(first, disk / place), first
        assert second[0] == 0
        assert found == whole


def test_manifest(disk, tmp_path):
    (tmp_path / "videos" / "real").mkdir(parents=True)
    make_video(tmp_path / "videos" / "real" / "a.mp4")
    arguments = ["--root", str(tmp_path / "videos"), "--out", str(disk / "m.parquet")]
    for left in (0, 4):
        first, files, second, found = run_on_small_disk(
            disk, "1m", filled, disk, left, make_manifest.main, arguments, lambda disk: (disk / "m.parquet").is_file()
        )
        assert named(first, disk), first
        assert "m.parquet" not in files, "no half manifest"
        assert (second, found) == ((0, ""), True)


def test_codec_parity(disk, tmp_path):
    (tmp_path / "videos" / "real").mkdir(parents=True)
    make_video(tmp_path / "videos" / "real" / "a.mp4")
    arguments = ["--config", "config/codec_parity.json", f"--input={tmp_path / 'videos'}", f"--output={disk / 'p'}"]

    def content(disk):
        return (disk / "p" / "real" / "a.mp4").read_bytes()

    whole = run_on_small_disk(disk, "4m", lambda: outcome(codec_parity.main, arguments) and content(disk))
    for left in (0, 16, 40):
        first, files, second, found = run_on_small_disk(
            disk, "4m", filled, disk, left, codec_parity.main, arguments, content
        )
        assert named(first, disk / "p"), first
        assert "p/real/a.mp4" not in files, "no half clip"
        assert (second, found) == ((0, ""), whole)


def test_clones(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "open_naturalness", lambda: lambda samples: 3.0)
    monkeypatch.setattr(cloning_clips, "_prepare_worker", lambda: None)
    monkeypatch.setattr(clone_voices, "run_killable", run_in_process)
    speech_clip(tmp_path / "in" / FOLDER / "id00001" / "00000.mp4", "id00001", 0)
    cfg = clone_config(tmp_path, candidates=1, tiers=["RVFA-SVC"], output=str(disk / "c"))

    def content(disk):
        return files_of(disk / "c")

    whole = run_on_small_disk(disk, "4m", lambda: outcome(clone, cfg) and content(disk))
    for left in (0, 16, 60):
        first, files, second, found = run_on_small_disk(disk, "4m", filled, disk, left, clone, cfg, content)
        assert named(first, disk / "c"), first
        media = {name.removeprefix("c/"): data for name, data in files.items() if name.endswith(".mp4")}
        assert media.items() <= whole.items(), "no half clip"
        assert bool(media) == (left == 60)
        assert (second, found) == ((0, ""), whole)


def test_comparison(disk, tmp_path):
    systems = [str(evaluated(tmp_path, name, seed=seed)) for seed, name in enumerate(("ours", "theirs"))]
    arguments = [*systems, "--bootstrap", "0", "--out", str(disk)]
    for left in (0, 24, 44):
        first, files, second, _ = run_on_small_disk(disk, "1m", filled, disk, left, compare.main, arguments)
        assert named(first, disk / "compare.")
        assert second == (0, "")
        assert all(name == FILL or name.startswith("compare.") for name in files), "no half file"


def test_windows_of_a_file(disk, tmp_path, small_store):
    make_video(tmp_path / "a.mp4")
    arguments = ["--run", str(make_run(tmp_path, "pretrain", small_store)), str(tmp_path / "a.mp4")]
    first, files, second, _ = run_on_small_disk(disk, "8m", filled, disk, 12, detect.main, arguments)
    assert named(first, disk / "avdfd-spool-")
    assert (second, [*files]) == ((0, ""), [FILL])
