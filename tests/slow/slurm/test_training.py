"""Training as SLURM jobs on two nodes of the cluster that the local `sbatch` submits to.

    bash test.sh --slurm tests/slow/slurm

The jobs run in this checkout, with one process on each node.
"""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch

from avdfd.inference.runs import load_run
from avdfd.training.meter import SPEED
from tests.helpers.runs import AUDIO, make_store
from tests.paths import ROOT

LIMIT = 300.0  # seconds for a job


@pytest.fixture(scope="module")
def store(tmp_path_factory, request):
    if not request.config.getoption("--slurm"):
        pytest.skip("submits jobs to a cluster; needs --slurm")
    if shutil.which("sbatch") is None:
        pytest.skip("no SLURM on this machine")
    nodes = subprocess.run(["sinfo", "-hN", "-t", "idle", "-o", "%N"], capture_output=True, text=True).stdout.split()
    if len(set(nodes)) < 2:
        pytest.skip(f"needs two idle nodes, there are {len(set(nodes))}")
    return make_store(tmp_path_factory.mktemp("slurm"))


def config(store: Path, folder: Path, name: str, epochs: int, **changes) -> Path:
    data = {"elements": str(store / "elements"), "splits": str(store / "splits"), "workers": 0}
    values = {
        "kind": "pretrain",
        "name": name,
        "runs": str(folder / "runs"),
        "device": "cpu",
        "data": {**data, "fake_tiers": ["RVFA", "RVFA-VC"]},
        "model": {**AUDIO, "dropout": 0.1},
        "optim": {"lr": 1e-3, "epochs": epochs, "warmup_epochs": 1, "batch_size": 4},
        "select": {"patience": 10_000},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**values, **changes}))
    return path


def submit(script: str, path: Path, *options: str) -> str:
    """Submit a job; return its number."""
    command = ["sbatch", "--parsable", "--gres=none", "--cpus-per-task=2", "--mem=4G", "--exclusive"]
    command += [
        f"--output={path.with_suffix('')}-%A_%a.out",
        f"--export=ALL,CONFIG={path},PROCESSES=1",
        *options,
        script,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip().split(";")[0]


def job(number: str) -> str:
    return subprocess.run(["scontrol", "-o", "show", "job", number], capture_output=True, text=True).stdout


def states(number: str) -> set[str]:
    return set(re.findall(r"JobState=(\w+)", job(number)))


def wait_for(number: str, path: Path, limit: float = LIMIT) -> None:
    """Wait until a job has been finished for 5 seconds, because a requeued job looks finished for a moment."""
    deadline = ended = time.monotonic() + limit
    while time.monotonic() < ended:
        assert time.monotonic() < deadline, job(number)
        if states(number) <= {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}:
            ended = min(ended, time.monotonic() + 5)
        else:
            ended = deadline
        time.sleep(0.3)
    said = "".join(out.read_text()[-3000:] for out in path.parent.glob(f"{path.stem}-*.out"))
    assert states(number) == {"COMPLETED"}, job(number) + said


def epochs(run: Path) -> list[dict[str, float]]:
    file = run / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [{key: value for key, value in line.items() if key not in SPEED} for line in lines]


def until(condition, number: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        assert states(number) & {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING"}, job(number)
        time.sleep(0.05)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_run(run, "cpu").model.state_dict()


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return epochs(one) == epochs(other) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def alone(store: Path, folder: Path, count: int, **changes) -> Path:
    """Return the folder of an uninterrupted run of one process."""
    path = config(store, folder, "alone", count, **changes)
    command = [".venv/bin/python", "pretrain.py", "--config", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "runs" / "alone"


def test_two_nodes_train_one_model(store, tmp_path):
    """tests/slow/test_distributed.py tests, without dropout, that the losses equal those of one process."""
    path = config(store, tmp_path, "nodes", 5)
    number = submit("pretrain.sh", path, "-N", "2")
    wait_for(number, path)
    assert "NumNodes=2" in job(number)
    assert "2 x cpu" in (tmp_path / "runs" / "nodes" / "log.txt").read_text()
    for one, two in zip(epochs(alone(store, tmp_path, 5)), epochs(tmp_path / "runs" / "nodes"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=0.5)


@pytest.mark.parametrize("nodes", [1, 2])
def test_signal_saves_and_job_resumes_by_itself(nodes, store, tmp_path):
    """SLURM sends such a signal before the time limit (`--signal=B:USR1@120`) and before preemption."""
    path = config(store, tmp_path, "cut", 500)
    number = submit("pretrain.sh", path, "-N", str(nodes))
    run = tmp_path / "runs" / "cut"
    until(lambda: len(epochs(run)) >= 2, number)
    subprocess.run(["scancel", "--signal=USR1", "--batch", number], check=True)
    until(lambda: "Restarts=1" in job(number), number)
    assert len(epochs(run)) < 500
    wait_for(number, path)
    assert "stopped the run: saved in epoch" in (run / "log.txt").read_text()
    assert len(epochs(run)) == 500
    if nodes == 1:
        assert same(run, alone(store, tmp_path, len(epochs(run))))


def test_run_outlasts_the_time_limit_of_its_job(store, tmp_path):
    path = config(store, tmp_path, "late", 1200)
    number = submit("pretrain.sh", path, "--time=00:01:00", "--signal=B:USR1@35")
    wait_for(number, path, 3 * LIMIT)  # a busy machine needs many jobs, each of which trains for some seconds
    assert re.search(r"Restarts=[1-9]", job(number))
    assert same(tmp_path / "runs" / "late", alone(store, tmp_path, 1200))


def test_run_survives_a_failed_node(store, tmp_path):
    """Its job is restarted on another node and resumes from the last checkpoint."""
    path = config(store, tmp_path, "failed", 60)
    number = submit("pretrain.sh", path)
    run = tmp_path / "runs" / "failed"
    until(lambda: len(epochs(run)) >= 2, number)
    node = re.findall(r" NodeList=(\w+)", job(number))[0]
    subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"], check=True)
    try:
        until(lambda: "Restarts=1" in job(number), number)
        wait_for(number, path)
    finally:
        # Some clusters resume the node by themselves and then refuse this command.
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)
    assert same(run, alone(store, tmp_path, len(epochs(run))))


def test_a_search_as_an_array(store, tmp_path):
    base = config(store, tmp_path, "base", 2)
    path = tmp_path / "search.json"
    grid = {"optim.lr": [1e-3, 1e-4], "optim.batch_size": [2, 4]}
    path.write_text(
        json.dumps(
            {"kind": "search", "name": "grid", "runs": str(tmp_path), "config": str(base), "grid": grid, "seeds": [0]}
        )
    )
    number = submit("search.sh", path, "--array=0-1")
    wait_for(number, path)
    assert len(list((tmp_path / "grid").glob("*/best.safetensors"))) == 4
    assert (tmp_path / "grid" / "results.md").is_file()
