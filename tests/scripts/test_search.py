"""search.py: training, repeated calls, failures, array tasks, signals, and one real search."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch

import search
from avdfd.core.errors import UserError
from avdfd.core.files import locked
from avdfd.report import plots
from avdfd.search import queue
from avdfd.search.results import LOCK
from tests.helpers.runs import AUDIO, data_section, make_store

# Replaces a training script: records its calls, and its AUC is its learning rate. A rate of 7 is a failure; one of 8
# takes a minute unless it is stopped, and is resumed as 0.8.
STUB = """
import json, os, pathlib, signal, sys, time
keys = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
assert "--resume" in sys.argv
run = pathlib.Path(keys["runs"]) / keys["name"]
with open(run.parent / "calls", "a") as calls:
    calls.write(f"{run.name} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('OMP_NUM_THREADS')}\\n")
auc = float(keys["optim.lr"])
if auc == 7:
    sys.exit("error: the loss exploded")
if auc == 8:
    auc = 0.8
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    if not (run / "begun").exists():
        (run / "begun").touch()
        time.sleep(60)
lines = [{"epoch": n, "val_auc": auc / n + int(keys["seed"]) / 100, "seconds": 1} for n in (1, 2)]
(run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return arguments for main and the folder of a search over a stub of pretrain.py."""
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setitem(queue.SCRIPTS, "pretrain", str(tmp_path / "stub.py"))
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"kind": "pretrain", "name": "x", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}))
    config = tmp_path / "s.json"
    values = {"kind": "search", "name": "sweep", "runs": str(tmp_path / "runs"), "config": str(base)}
    config.write_text(json.dumps({**values, "grid": {"optim.lr": [0.5, 0.75]}, "seeds": [0, 1]}))
    return ["--config", str(config), "--gpus", "none"], tmp_path / "runs" / "sweep"


def calls(folder):
    """Return the trained runs in order of their start."""
    return [line.split()[0] for line in (folder / "calls").read_text().splitlines()]


def test_runs_are_trained_once(sweep, capsys):
    arguments, folder = sweep
    assert search.main(arguments) == 0
    names = [f"lr{lr}-seed{seed}" for lr in (0.5, 0.75) for seed in (0, 1)]
    assert calls(folder) == names
    output = capsys.readouterr().out
    assert "lr0.75-seed1: auc 0.7600 in epoch 1 of 2, 2 s" in output
    assert "best: lr0.75, validation auc 0.7550 ± 0.0071, seeds: 2" in output
    assert "--optim.lr=0.75 --name=sweep-best" in output
    assert f"bash evaluate.sh --run {folder}/lr0.75-seed1 --split test" in output
    assert {"results.csv", "results.md", "results.png"} <= {path.name for path in folder.iterdir()}
    assert search.main(arguments) == 0
    assert calls(folder) == names
    assert "4 runs, 4 already done" in capsys.readouterr().out
    # A larger search trains only the new runs.
    assert search.main([*arguments, "--grid.optim.lr=[0.25,0.5,0.75]", "--seeds=[0]"]) == 0
    assert calls(folder)[4:] == ["lr0.25-seed0"]


def test_failure_is_listed_and_does_not_affect_other_runs(sweep, capsys):
    arguments, folder = sweep
    arguments += ["--grid.optim.lr=[7,0.5]", "--seeds=[0]"]
    assert search.main(arguments) == 1
    assert "lr7-seed0: failed: the loss exploded" in capsys.readouterr().out
    assert "- `lr7-seed0`: the loss exploded" in (folder / "results.md").read_text()
    assert search.main([*arguments, "--report"]) == 0
    assert "best: lr0.5" in capsys.readouterr().out
    assert search.main(arguments) == 1
    assert calls(folder) == ["lr7-seed0", "lr0.5-seed0", "lr7-seed0"], "failed runs are tried again"


def test_array_tasks_share_the_runs(sweep, capsys):
    arguments, folder = sweep
    assert search.main([*arguments, "--list"]) == 0
    assert "4 runs; one task each: sbatch --array=0-3 search.sh" in capsys.readouterr().out
    assert not folder.exists()
    for task in range(3):
        assert search.main([*arguments, "--shard", f"{task}/3"]) == 0
    assert calls(folder) == ["lr0.5-seed0", "lr0.75-seed1", "lr0.5-seed1", "lr0.75-seed0"]
    assert "2 of 2" in (folder / "results.md").read_text()
    assert search.main([*arguments, "--shard", "7/8"]) == 0, "a task without a run"


def test_run_of_another_search_is_skipped(sweep, capsys, monkeypatch):
    arguments, folder = sweep
    monkeypatch.setattr(queue, "PATIENCE", 0.5)
    (folder / "lr0.5-seed0").mkdir(parents=True)
    with locked(folder / "lr0.5-seed0" / LOCK, folder):
        assert search.main([*arguments, "--seeds=[0]"]) == 1
    output = capsys.readouterr().out
    assert output.count(f"lr0.5-seed0: {folder}/lr0.5-seed0: another run is writing to it") == 1
    assert "1 running" in output
    assert calls(folder) == ["lr0.75-seed0"]


def test_run_of_a_killed_search_ends_and_is_resumed(sweep, capsys):
    """The search alone is killed. Its run would take a minute; it is asked to save, and the next search waits."""
    arguments, folder = sweep
    arguments += ["--grid.optim.lr=[8]", "--seeds=[0]"]
    killed = multiprocessing.get_context("fork").Process(target=search.main, args=(arguments,))
    killed.start()
    deadline = time.monotonic() + 30
    while not (folder / "lr8-seed0" / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.join()
    started = time.monotonic()
    assert search.main(arguments) == 0
    assert time.monotonic() - started < 30
    assert "lr8-seed0: auc 0.8000" in capsys.readouterr().out
    assert calls(folder) == ["lr8-seed0"] * 2


def test_slots_of_gpus_and_cores(sweep, monkeypatch):
    arguments, folder = sweep
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(9)})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert queue.slots("none", 2) == [{"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}] * 2
    assert queue.slots("all", 1) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in queue.slots("1", 2)] == ["1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in queue.slots("all", 1)] == ["3", "GPU-ab"]
    with pytest.raises(UserError, match="this machine has 2 usable GPUs"):
        queue.slots("0,1,2", 1)
    assert search.main([*arguments[:2], "--gpus", "3"]) == 0
    assert (folder / "calls").read_text().splitlines()[0] == "lr0.5-seed0 3 None"


def test_invalid_requests_are_rejected(sweep, tmp_path):
    arguments, folder = sweep

    def message(*more):
        with pytest.raises(UserError) as error:
            search.main([*arguments, *more])
        return str(error.value)

    assert "--jobs 0: must be at least 1" in message("--jobs", "0")
    assert "--shard 4/4: write i/n" in message("--shard", "4/4")
    assert "unknown key 'optim.lrr': did you mean 'optim.lr'?" in message("--grid.optim.lrr=[1]")
    assert "none.json: no such config file" in message(f"--config={tmp_path}/none.json")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert "is the folder of a training run" in message()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_signal_ends_the_children_and_the_search_resumes(sweep, capsys, signum, code):
    arguments, folder = sweep
    arguments += ["--grid.optim.lr=[8,0.5]", "--seeds=[0]"]

    def send():
        deadline = time.monotonic() + 60
        while not (folder / "lr8-seed0" / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send)
    sender.start()
    assert search.main(arguments) == code
    sender.join()
    output, errors = capsys.readouterr()
    assert errors == "interrupted; run the same command again to resume\n"
    assert "1 unfinished" in output
    assert "1 not started" in output
    assert search.main(arguments) == 0, "its lock must be free"
    assert calls(folder) == ["lr8-seed0", "lr8-seed0", "lr0.5-seed0"]


def test_figure():
    points = [({"lr": 1e-3, "depth": 1}, [0.8, 0.9]), ({"lr": 1e-4, "depth": 0}, [0.6]), ({"lr": 1e-2, "depth": 0}, [])]
    figure = plots.sweep(points, {"lr": "log", "depth": ["2", "a long value of a key"]}, "validation auc", best=0)
    ranged, listed = figure.axes
    lines = {line.get_label(): line for line in listed.lines}
    assert lines["mean"].get_xydata().tolist() == [[0, 0.6], [1, pytest.approx(0.85)]]
    assert lines["the best setting"].get_xydata().tolist() == [[1, 0.8], [1, 0.9]]
    assert [label.get_text() for label in listed.get_xticklabels()] == ["2", "a long value of…"]
    assert ranged.get_xscale() == "log"
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr", "depth"]
    assert plots.encode(figure, ".png").startswith(b"\x89PNG")


def test_search_with_the_real_script(tmp_path, capsys):
    """Train two learning rates of stage 1 by pretrain.py; a changed common setting is rejected."""
    store = make_store(tmp_path)
    data = data_section(store, "RVFA")
    optim = {"epochs": 1, "warmup_epochs": 0, "batch_size": 4}
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"kind": "pretrain", "name": "x", "data": data, "model": AUDIO, "optim": optim}))
    config = tmp_path / "s.json"
    values = {"kind": "search", "name": "real", "runs": str(tmp_path / "runs"), "config": str(base)}
    config.write_text(json.dumps({**values, "grid": {"optim.lr": [1e-4, 1e-3]}, "overrides": {"device": "cpu"}}))
    assert search.main(["--config", str(config)]) == 0
    folder, output = tmp_path / "runs" / "real", capsys.readouterr().out
    assert "bash pretrain.sh --device=cpu --optim.lr=" in output
    for lr in (1e-4, 1e-3):
        run = folder / f"lr{lr}-seed0"
        made = json.loads((run / "config.json").read_text())
        assert (made["optim"]["lr"], made["optim"]["epochs"], made["device"]) == (lr, 1, "cpu")
        epoch = json.loads((run / "metrics.jsonl").read_text())
        assert f"lr{lr}-seed0: auc {epoch['val_auc']:.4f} in epoch 1 of 1" in output
        assert (run / "best.safetensors").exists()
    with pytest.raises(UserError, match=r"lr0\.0001-seed0: made with another 'optim\.batch_size' \(4 -> 2\)"):
        search.main(["--config", str(config), "--overrides.optim.batch_size=2"])
