"""Two processes train like one: equal losses, no sample twice and none dropped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import pretrain
import train
from avdfd.datasets.samplers import Paired, Sequential, Shared, Shuffled
from tests.helpers.encoders import WAVLM, WHISPER, audio_model, encoder_files
from tests.helpers.killing import Training, recorded
from tests.helpers.runs import AUDIO, VISUAL, data_section, epochs, make_run, make_store
from tests.paths import ROOT
from tests.unit.elements import meta


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = make_store(tmp_path_factory.mktemp("store"))
    make_run(root, "pretrain", audio={**AUDIO, "dropout": 0.0})
    return root


def config(store: Path, folder: Path, script: str, **changes) -> Path:
    values: dict[str, Any] = {
        "kind": script,
        "name": script,
        "runs": str(folder),
        "device": "cpu",
        "data": data_section(store, "RVFA", "RVFA-VC" if script == "pretrain" else "FVRA"),
        "optim": {"lr": 1e-3, "epochs": 11 if script == "pretrain" else 6, "warmup_epochs": 1, "batch_size": 3},
        "select": {"patience": 50},
    }
    if script == "pretrain":
        values["model"] = {**AUDIO, "dropout": 0.0}
    else:
        values |= {"audio": str(store / "pretrain"), "visual": VISUAL}
        values |= {"predictor": {"depth": 1, "heads": 2, "dropout": 0.0}, "audio_lr_scale": 0.5}
    path = folder / f"{script}.json"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps({**values, **changes}))
    return path


def losses_of(processes: int, script: str, path: Path) -> list[float]:
    """Train without dropout, alone in this process or on several; return the loss of every step."""
    losses = path.with_name("losses.txt")
    if processes == 1:
        with recorded(losses):
            {"pretrain": pretrain, "train": train}[script].main(["--config", str(path)])
    else:
        Training(script, ["--config", str(path)], processes, losses=losses).finish()
    return [float(line) for line in losses.read_text().splitlines()]


@pytest.mark.parametrize("script", ["pretrain", "train"])
def test_two_processes_have_the_losses_of_one(store, tmp_path, script):
    found = {n: losses_of(n, script, config(store, tmp_path / str(n), script)) for n in (1, 2)}
    assert len(found[1]) == len(found[2]) >= 20
    assert found[2] == pytest.approx(found[1], abs=1e-5)
    one, two = (epochs(tmp_path / str(n) / script) for n in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(
    ("front", "more", "augment"),
    [
        (WHISPER, {"layers": [1, 2]}, {}),
        (WAVLM, {"head": "attentive", "train_from": 2, "lr_scale": 0.5}, {"waveform": {"noise": 0.5, "speed": 0.5}}),
        (WAVLM, {"head": "sls", "train_from": 0, "lr_scale": 0.5}, {}),
    ],
    ids=["cached", "partly trained, augmented", "trained"],
)
def test_two_processes_on_a_pretrained_encoder_have_the_losses_of_one(tmp_path, front, more, augment):
    files, found = encoder_files(tmp_path), {}
    for n in (1, 2):
        store = make_store(tmp_path / f"store-{n}")  # with a cache of its own
        model = audio_model(front, files, {"dropout": 0.0}, **more)
        path = config(store, tmp_path / str(n), "pretrain", model=model, augment=augment)
        found[n] = losses_of(n, "pretrain", path)
    assert len(found[1]) == len(found[2]) >= 20
    assert found[2] == pytest.approx(found[1], abs=1e-5)


def test_killing_torchrun_ends_its_processes(store, tmp_path):
    """Otherwise they would write to the run beside those of the next torchrun. tests/slow/test_kill_and_resume.py
    tests that the run resumes bit for bit."""
    path = config(store, tmp_path, "pretrain", save_minutes=1e-9)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "pretrain.py"]
    process = subprocess.Popen(
        [*command, "--config", str(path), "--optim.epochs=500"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "pretrain").glob("last-00001-*.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()  # waits for all processes with its pipes, loaders included
    lines = (tmp_path / "pretrain" / "metrics.jsonl").read_text()
    time.sleep(0.3)
    assert (tmp_path / "pretrain" / "metrics.jsonl").read_text() == lines
    pretrain.main(["--config", str(path), "--resume", "--optim.epochs=500", "--select.patience=1"])


def orders():
    metas = [meta(i, t, window=w) for i in "abc" for t in ("RVRA", "RVFA") for w in range(3)]
    return [Sequential(11, 4), Shuffled(11, 4, 0), Paired(metas, 2, 0, source="s")]


@pytest.mark.parametrize("limit", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_make_up_the_batches(size, limit):
    for order in orders():
        per_rank = [list(Shared(order, rank=rank, size=size, limit=limit).shares()) for rank in range(size)]
        batches: list[list] = [[]]
        for shares in zip(*per_rank, strict=True):
            assert len({len(share.draws) for share in shares}) == 1  # as all_gather needs
            assert not limit or len(shares[0].draws) <= limit
            rows = [draw for row in zip(*(share.draws for share in shares), strict=True) for draw in row]
            batches[-1] += rows[: shares[0].total]
            assert shares[0].weight == pytest.approx(shares[0].total / len(shares[0].batch))
            if shares[0].last:
                assert batches[-1] == shares[0].batch
                batches.append([])
        assert batches[:-1] == list(order)


def test_share_resumes_within_an_epoch():
    shared = Shared(Shuffled(11, 4, 0))
    shared.start(3, 0)
    whole = list(shared)
    shared.start(3, 2)
    assert list(shared) == whole[2:]
    assert len(shared) == 1
