"""Two processes train as one does: the same losses, no sample twice and none dropped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from avdfd import scoring
from avdfd.datasets.samplers import Paired, Sequential, Shared, Shuffled
from avdfd.meter import SPEED
from tests.elements import meta
from tests.runs import AUDIO, VISUAL, make_run, make_store

ROOT = Path(__file__).parents[1]

# Runs a training script and writes down the loss of every step.
RECORDER = """
import json, os, sys
import {script}
from avdfd.steps import Training
step = Training.step
def noted(self, losses, *rest):
    if self.world.first:
        with open({log!r}, "a") as file:
            file.write(json.dumps(losses["loss"].item()) + chr(10))
    step(self, losses, *rest)
Training.step = noted
if {exact}:  # heads of stage 2 have dropout of their own
    import torch
    torch.nn.Dropout.forward = lambda self, x: x
from avdfd.errors import run_script
run_script({script}.main)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    make_run(root, "pretrain")
    return root


def config(store: Path, folder: Path, script: str, **changes) -> Path:
    values = {
        "kind": script,
        "name": script,
        "runs": str(folder),
        "device": "cpu",
        "data": {
            "elements": str(store / "elements"),
            "splits": str(store / "splits"),
            "fake_tiers": ["RVFA", "RVFA-VC"] if script == "pretrain" else ["RVFA", "FVRA"],
            "workers": 0,
        },
        "optim": {"lr": 1e-3, "epochs": 11 if script == "pretrain" else 6, "warmup_epochs": 1, "batch_size": 3},
        "select": {"patience": 50},
    }
    if script == "pretrain":
        values["model"] = {**AUDIO, "dropout": 0.0}
    else:
        values |= {"audio": str(store / "pretrain"), "visual": VISUAL}
        values["predictor"] = {"depth": 1, "heads": 2, "dropout": 0.0}
    path = folder / f"{script}.json"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps({**values, **changes}))
    return path


def start(
    processes: int, folder: Path, script: str, path: Path, *more: str, exact: bool = False
) -> "subprocess.Popen[str]":
    recorder = folder / "recorder.py"
    recorder.write_text(RECORDER.format(script=script, log=str(folder / "losses.txt"), exact=exact))
    command = [sys.executable, str(recorder)]
    if processes > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command.append(str(recorder))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--config", str(path), *more], cwd=ROOT, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> None:
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err[-3000:]


def kill_all(word: str) -> None:
    """SIGKILL to every process with a word on its command line: torchrun's children have sessions of their own."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended
        if word in words:
            os.kill(int(place.parent.name), signal.SIGKILL)


def epochs(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in SPEED} for line in lines]


@pytest.mark.parametrize("script", ["pretrain", "train"])
def test_two_processes_give_the_losses_of_one(store, tmp_path, script):
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        finish(start(processes, folder, script, config(store, folder, script), exact=True))
        found[processes] = [float(line) for line in (folder / "losses.txt").read_text().splitlines()]
    assert len(found[1]) == len(found[2]) >= 20
    assert found[2] == pytest.approx(found[1], abs=1e-5)
    one, two = (epochs(tmp_path / str(n) / script) for n in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_two_processes_killed_and_started_again(store, tmp_path):
    """SIGKILL to all of them in the middle of an epoch; dropout is on, so every process needs its own random state."""
    model = {"model": {**AUDIO, "dropout": 0.2}}
    model["optim"] = {"lr": 1e-3, "epochs": 40, "warmup_epochs": 1, "batch_size": 3}
    finish(start(2, tmp_path, "pretrain", config(store, tmp_path, "pretrain", **model)))
    whole = epochs(tmp_path / "pretrain")
    path = config(store, tmp_path, "pretrain", name="cut", **model)
    process = start(2, tmp_path, "pretrain", path, "--save_minutes=1e-9")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("last-0000[2-9]-000000[1-9].pt.sha256")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert process.poll() is None
    kill_all(str(tmp_path / "recorder.py"))
    process.communicate()
    assert len(epochs(tmp_path / "cut")) < len(whole)
    finish(start(2, tmp_path, "pretrain", path, "--resume"))
    assert epochs(tmp_path / "cut") == whole
    one, other = (scoring.load_run(tmp_path / name, "cpu").model.state_dict() for name in ("pretrain", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def orders():
    metas = [meta(i, t, window=w) for i in "abc" for t in ("RVRA", "RVFA") for w in range(3)]
    return [Sequential(11, 4), Shuffled(11, 4, 0), Paired(metas, 2, 0, source="s")]


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_make_up_the_batches(size, part):
    for order in orders():
        columns = [list(Shared(order, rank=rank, size=size, part=part).shares()) for rank in range(size)]
        batches: list[list] = [[]]
        for shares in zip(*columns, strict=True):
            assert len({len(share.draws) for share in shares}) == 1  # what all_gather needs
            assert not part or len(shares[0].draws) <= part
            rows = [draw for row in zip(*(share.draws for share in shares), strict=True) for draw in row]
            batches[-1] += rows[: shares[0].total]
            assert shares[0].weight == pytest.approx(shares[0].total / len(shares[0].batch))
            if shares[0].last:
                assert batches[-1] == shares[0].batch
                batches.append([])
        assert batches[:-1] == list(order)


def test_a_share_goes_on_in_the_middle_of_an_epoch():
    shared = Shared(Shuffled(11, 4, 0))
    shared.start(3, 0)
    whole = list(shared)
    shared.start(3, 2)
    assert list(shared) == whole[2:]
    assert len(shared) == 1
