"""Runs of the script: other processes, interruptions, and what it refuses."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from avdfd.core.tiers import RVFA_VC
from data import demo_corpus
from data.corpus.clips import METHODS
from tests.helpers.demo_corpus import IDENTITIES, SCRIPT, clips, grey_frames, run


def test_other_processes_make_missing_clips_byte_identical(corpus, tmp_path):
    """A clip of every tier is deleted, and made by one worker whose memory is filled with other values."""
    again = shutil.copytree(corpus, tmp_path / "videos")
    victims = [next(p for p in clips(again, tier) if p.parent.name == "id00001") for tier in METHODS]
    victims.append(clips(again, RVFA_VC)[0])
    before = [v.read_bytes() for v in victims]
    for victim in victims:
        victim.unlink()
    settings = ("--identities", str(IDENTITIES), "--seed", "1", "--workers", "1")
    done = run("--out", str(again), *settings, MALLOC_PERTURB_="85")
    assert done.returncode == 0, done.stderr
    assert f"({len(victims)} made now)" in done.stdout
    assert [v.read_bytes() for v in victims] == before


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupted_run_leaves_complete_files_only(tmp_path):
    out = tmp_path / "videos"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--identities", "3", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not list(out.rglob("*.mp4")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "run again to resume" in stderr
    finished = list(out.rglob("*.mp4"))
    assert 0 < len(finished) < 36
    assert all(len(grey_frames(p)) >= 125 for p in finished)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--identities", "-4"], "--identities -4"),
        (["--identities", "2"], "at least 3"),
        (["--identities", "many"], "invalid int value"),
        (["--seed", "-1"], "must not be negative"),
        (["--workers", "0"], "--workers 0"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments(arguments, complaint, tmp_path, capsys):
    assert demo_corpus.main(["--out", str(tmp_path / "new"), *arguments]) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.splitlines()) == 1
    assert complaint in stderr
    assert not (tmp_path / "new").exists()


def test_unwritable_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert demo_corpus.main(["--out", str(tmp_path / "file" / "videos")]) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.splitlines()) == 1
    assert "cannot be written" in stderr


def test_folder_of_another_corpus(corpus, capsys):
    assert demo_corpus.main(["--out", str(corpus), "--identities", str(IDENTITIES), "--seed", "4"]) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.splitlines()) == 1
    assert "seed was 1 and is now 4" in stderr
