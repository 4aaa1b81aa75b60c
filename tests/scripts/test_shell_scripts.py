"""Shell scripts that bash and sbatch both run: folder, environment, arguments, exit code."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in (ROOT, ROOT / "data", ROOT / "data" / "preprocessing")
    for path in folder.glob("*.sh")
    if "#SBATCH" in path.read_text()
)


@pytest.fixture
def repository(tmp_path):
    """A root with the scripts, a finished environment, and a Python that prints its arguments."""
    root = tmp_path / "with a space"
    for script in SCRIPTS:
        (root / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / script, root / script)
    shutil.copy(ROOT / "launch.sh", root)
    (root / "setup.sh").write_text("touch .ready\n")
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\n[[ -f .ready ]] || exit 1\npwd\nprintf "%s\\n" "$@"\nexit 7\n')
    python.chmod(0o755)
    return root


def call(script, cwd, **environment):
    command = ["bash", str(script), "--one", "two words"]
    environment = {"PATH": "/usr/bin:/bin", "PROCESSES": "1", **{key: str(value) for key, value in environment.items()}}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_script(script, repository, tmp_path):
    spooled = tmp_path / "spool" / "job7" / "slurm_script"
    spooled.parent.mkdir(parents=True)
    shutil.copy(ROOT / script, spooled)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    by_bash = call(repository / script, elsewhere)
    in_a_job_of_another_folder = call(repository / script, elsewhere, SLURM_SUBMIT_DIR=elsewhere)
    by_sbatch = call(spooled, repository, SLURM_SUBMIT_DIR=repository)
    for done in (by_bash, in_a_job_of_another_folder, by_sbatch):
        assert done.returncode == 7, done.stderr
        said = done.stdout.splitlines()
        assert said[0] == str(repository)
        assert (repository / said[1]).parent.resolve() in {
            repository,
            repository / "data",
            (repository / script).parent,
        }
        assert said[-2:] == ["--one", "two words"]

    wrong = call(spooled, elsewhere, SLURM_SUBMIT_DIR=elsewhere)
    assert wrong.returncode == 2
    assert wrong.stderr == f"{script.name}: submit it from the root of the repository\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_batch_job_asked_to_end_saves_and_is_requeued(number, repository, tmp_path):
    (repository / ".venv" / "bin" / "python").write_text(
        '#!/usr/bin/env bash\ntrap "echo saved; exit 75" TERM\ntouch started\nwhile true; do sleep 0.05; done\n'
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text('#!/usr/bin/env bash\necho "scontrol $*"\n')
    (tools / "scontrol").chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "PROCESSES": "1", "ENVIRONMENT": "BATCH", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", "train.sh"], cwd=repository, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (repository / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(number)
    out, _ = job.communicate(timeout=20)
    assert out.splitlines() == ["saved", "scontrol requeue 7"]
    assert job.returncode == 75


def test_setup_refuses_a_small_disk_before_it_starts(tmp_path):
    for file in ("setup.sh", "requirements.txt", "requirements-dev.txt", "requirements-weights.txt"):
        shutil.copy(ROOT / file, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "df").write_text('#!/bin/sh\nprintf "Blocks Used Available Mounted\\n/dev/x 1 1 5000000 9%% /\\n"\n')
    (tools / "df").chmod(0o755)
    environment = {"PATH": f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", "setup.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"setup.sh: 10 GB needed in {tmp_path}, 5 free; 3 GB in {tmp_path}, 5 free:"
        " make room, or set TMPDIR to a larger disk\n"
    )
    assert not (tmp_path / ".venv").exists()
