"""N steps equal k steps, SIGKILL within an epoch and N - k steps: all outputs are identical to the bit."""

import json
import random
import shutil
import time

import numpy as np
import pytest
import torch

import baseline
import pretrain
import train
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.training import checkpoint, weights
from benchmarks import kills
from benchmarks.kills import meanings
from tests.helpers.killing import Training, saved
from tests.helpers.runs import AUDIO, VISUAL, data_section, make_run, make_store

RECIPE = {"lr": 1e-3, "epochs": 2, "batch_size": 3}
CONFIGS = {
    "pretrain": {
        "kind": "pretrain",
        "model": {**AUDIO, "dropout": 0.2},
        "augment": {"mel_noise": 0.1, "time_mask": 32},
        "optim": {**RECIPE, "warmup_epochs": 1},
    },
    "train": {
        "kind": "train",
        "visual": VISUAL,
        "predictor": {"depth": 1, "heads": 2, "dropout": 0.2},
        "augment": {"flip": 0.5, "mel_noise": 0.1},
        "optim": {**RECIPE, "warmup_epochs": 1},
    },
    "baseline": {
        "kind": "vfd",
        "model": {"image_size": 64, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "width": 0.0625},
        "match": {**RECIPE, "lr": 1e-5, "batch_size": 2, "schedule": "plateau"},
    },
}
RUN = {"pretrain": "run", "train": "run", "baseline": "run-match"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    make_run(root, "pretrain")
    for script, values in CONFIGS.items():
        tiers = ["RVFA", "RVFA-VC"] if script == "pretrain" else ["RVFA", "FVRA"]
        data = data_section(root, *tiers)
        more = {"audio": str(root / "pretrain")} if script == "train" else {}
        common = {"name": "run", "device": "cpu", "data": data, "save_minutes": 1e-9}
        (root / f"{script}.json").write_text(json.dumps({**common, **values, **more}))
    return root


@pytest.fixture(scope="module")
def whole(root):
    """Outputs of an uninterrupted run of a script, by number of processes."""
    known = {}

    def whole(script, processes):
        if (script, processes) not in known:
            runs = root / f"{script}-{processes}"
            Training(script, arguments(root, script, runs), processes).finish()
            known[script, processes] = meanings(runs)
        return known[script, processes]

    return whole


def arguments(root, script, runs, *more):
    if script == "baseline":
        more += ("--stage=match",)
    return ["--config", str(root / f"{script}.json"), "--resume", f"--runs={runs}", *more]


CASES = [("pretrain", 1), ("pretrain", 2), ("train", 1), ("train", 2), ("baseline", 1)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("script", "processes"), CASES)
def test_kill_within_an_epoch(script, processes, workers, root, whole, tmp_path):
    expected, run = whole(script, processes), tmp_path / RUN[script]
    kinds = sorted(name.removeprefix(f"{run.name}/").split("-")[0] for name in expected)
    assert kinds == ["best.safetensors", "last", "last", "metrics.jsonl"]
    again = arguments(root, script, tmp_path, f"--data.workers={workers}")
    with Training(script, again, processes, hang=(1, 1)) as training:
        training.wait_for(lambda: saved(run, 1, 1))
    assert meanings(tmp_path).keys() != expected.keys(), "killed before its end"
    Training(script, again, processes).finish()
    found = meanings(tmp_path)
    assert {name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)} == set()


@pytest.mark.parametrize("seed", [0, 1])
def test_kill_at_any_moment(seed, root, whole, tmp_path):
    """Kill a run three times at random; docs/benchmarks.md reports 30 kills."""
    expected, rng = whole("train", 2), random.Random(seed)
    again = arguments(root, "train", tmp_path, "--data.workers=2")
    for _ in range(3):
        with Training("train", again, 2):
            time.sleep(rng.uniform(0, 3))
    Training("train", again, 2).finish()
    assert meanings(tmp_path) == expected


def test_a_difference_of_one_bit_is_found(root, whole, tmp_path):
    expected, runs = whole("pretrain", 1), tmp_path / "runs"
    shutil.copytree(root / "pretrain-1", runs)
    assert meanings(runs) == expected
    newest = checkpoint.last_files(runs / "run")[0]
    state = torch.load(newest, weights_only=True)
    state["optimizer"]["state"][0]["exp_avg"].view(torch.int32)[0] ^= 1
    checkpoint.save(newest, state)
    facts, model = weights.load(runs / "run" / BEST, "pretrain")
    model["prototype"].view(torch.int32)[0] ^= 1
    weights.save(runs / "run" / BEST, model, facts)
    found = meanings(runs)
    assert {name for name in expected if found[name] != expected[name]} == {f"run/{newest.name}", f"run/{BEST}"}


def test_nothing_draws_from_the_generators_of_python_and_numpy(root, tmp_path):
    """Their state is therefore not saved."""
    for script, main in (("pretrain", pretrain.main), ("train", train.main), ("baseline", baseline.main)):
        main(arguments(root, script, tmp_path / script, "--data.workers=0"))
        assert random.getstate() == random.Random(0).getstate()
        drawn, seeded = np.random.get_state(), np.random.RandomState(0).get_state()
        assert drawn[2] == seeded[2]
        assert (drawn[1] == seeded[1]).all()


def test_two_processes_cannot_write_to_one_run(root, tmp_path):
    again = arguments(root, "pretrain", tmp_path, "--data.workers=1")
    with Training("pretrain", again, hang=(0, 1)) as training:
        training.wait_for(lambda: saved(tmp_path / "run", 0, 1))
        with pytest.raises(UserError, match="run: another run is writing to it"):
            pretrain.main(again)
    pretrain.main(again)  # a loader process of the killed run may still exist


@pytest.mark.parametrize("differs", [False, True])
def test_outputs_of_killed_commands_are_compared(differs, tmp_path, capsys):
    word = "$RANDOM" if differs else "word"
    command = ["bash", "-c", f"mkdir -p {{output}}; sleep 0.1; echo {word} > {{output}}/said"]
    assert kills.main(["--work", str(tmp_path), "--kills", "2", "--", *command]) == int(differs)
    assert ("1 files, 1 differ said" if differs else "1 files, 0 differ") in capsys.readouterr().out


def test_all_processes_of_a_command_are_killed(tmp_path):
    """This includes processes in a session of their own, such as torchrun's."""
    said = tmp_path / "said"
    child = f"while :; do date +%s%N >> {said}; sleep 0.01; done"
    assert kills.kill_after(["bash", "-c", f"setsid bash -c '{child}'; true"], 0.5, "mark", alone=False)
    size = said.stat().st_size
    time.sleep(0.2)
    assert said.stat().st_size == size > 0
    assert not kills.kill_after(["true"], 60, "mark", alone=False)
