"""Two processes train a baseline like one: equal losses and validation, with batch norms and random draws."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from avdfd.core.files import BEST
from avdfd.elements import ElementStore
from avdfd.training import weights
from avdfd.training.meter import SPEED
from tests.helpers.baseline_recorder import record
from tests.helpers.encoders import SIZES, encoder_files
from tests.helpers.runs import data_section, make_store
from tests.helpers.shared import fill_once
from tests.paths import ROOT

# Of 4 real elements, and 12 with fakes, the last batch is one that does not divide, or has no sample for a process.
SHORT = {"lr": 1e-3, "epochs": 10, "batch_size": 3}
LONG = {"lr": 1e-3, "epochs": 7, "batch_size": 5}
# Without Adam, which follows the rounding errors of a bias that a batch norm takes away again.
PLAIN = {"optimizer": "sgd", "lr": 1e-4, "epochs": 2}
AVFF = {
    "audio_length": 128, "image_size": 32, "dim": 16, "depth": 1, "heads": 2,
    "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
MRDF = {"encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 2, "max_steps": 8}
VFD = {"dim": 16, "depth": 1, "heads": 2}

CASES: dict[str, Any] = {
    "avff": {"model": AVFF, "pretrain": SHORT, "finetune": LONG},
    "avff-parts": {
        "model": AVFF, "loss": {"adversarial": 0.0}, "pretrain": {**SHORT, "epochs": 1},
        "finetune": {**LONG, "epochs": 2, "micro_batch": 2},
    },
    "mrdf-ce": {"model": MRDF, "train": LONG},
    "mrdf-margin": {"model": {**MRDF, "variant": "margin"}, "train": {**LONG, "epochs": 2}},
    "mrdf-faithful": {"model": {**MRDF, "encoder_layers": 0}, "faithful": True, "train": {**LONG, "epochs": 2}},
    "mrdf-whole": {"model": {**MRDF, "clips": "whole", "max_steps": 30}, "train": {**LONG, "epochs": 2}},
    "vfd-2022": {
        "model": {**VFD, "image_size": 32, "mlp_dim": 16, "width": 0.0625},
        "match": {**PLAIN, "batch_size": 3}, "finetune": {**PLAIN, "batch_size": 3},
    },
    "vfd-2023": {
        "model": {**VFD, "year": 2023, "image_size": 64, "out_dim": 8},
        "match": {**SHORT, "lr": 1e-4}, "finetune": {**LONG, "batch_size": 3, "lr": 1e-4},
    },
    "countermeasure-sls": {
        "model": {"arch": "sls", "samples": 6_000, "ssl": {"arch": "wavlm-base-plus", "sizes": SIZES}},
        "augment": {"waveform": {"noise": 0.5, "speed": 0.5}}, "train": {**LONG, "epochs": 2},
    },
}  # fmt: skip
RUNS = {
    "avff-pretrain": 20, "avff": 21, "avff-parts-pretrain": 2, "avff-parts": 6, "mrdf-ce": 21, "mrdf-margin": 6,
    "mrdf-faithful": 6, "mrdf-whole": 4, "vfd-2022-match": 4, "vfd-2022": 4, "vfd-2023-match": 20, "vfd-2023": 14,
    "countermeasure-sls": 6,
}  # fmt: skip
"""Number of steps of every run."""
ROUGH = {"avff-pretrain": 5e-4, "vfd-2023-match": 5e-5}
"""Tolerances above 1e-5, where rounding errors of 1e-7 grow: at the kinks of the critics, which are given few clips,
and in a batch norm of nearly equal distances."""


def write_config(store: Path, folder: Path, name: str, **values) -> Path:
    data = data_section(store, "RVFA", "FVRA")
    common = {"kind": name.partition("-")[0], "name": name, "device": "cpu", "data": data}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**common, **values}))
    return path


def torchrun(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, timeout=600)


@pytest.fixture(scope="module")
def folders(store, tmp_path_factory):
    """Output folders of one process and of two processes, which the workers of pytest-xdist share."""

    def train(shared: Path) -> None:
        one, two = shared / "one", shared / "two"
        one.mkdir()
        two.mkdir()
        whole = make_store(shared / "whole", whole=(26, 40, 29))
        CASES["countermeasure-sls"]["model"]["ssl"]["weights"] = str(encoder_files(shared)["wavlm-base-plus"])
        stores = {name: whole if name == "mrdf-whole" else store for name in CASES}
        configs = [str(write_config(stores[name], one, name, **values)) for name, values in CASES.items()]
        done = torchrun("-m", "tests.helpers.baseline_recorder", str(two), *configs)
        assert done.returncode == 0, done.stderr[-3000:]
        record(one, *configs)

    shared = fill_once(tmp_path_factory, "distributed_baselines", train)
    return shared / "one", shared / "two"


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_have_the_losses_of_one(folders, run):
    one, two = (lines(folder / f"{run}.jsonl") for folder in folders)
    assert len(one) == len(two) == RUNS[run]
    assert two[:3] == [pytest.approx(losses, rel=1e-5, abs=1e-5) for losses in one[:3]]
    for ours, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-5, abs=ROUGH.get(run, 1e-5))
    one, two = (lines(folder / run / "metrics.jsonl") for folder in folders)
    for ours, theirs in zip(one, two, strict=True):
        values = {name: value for name, value in ours.items() if name not in SPEED}
        assert {name: theirs[name] for name in values} == pytest.approx(values, rel=1e-4, abs=ROUGH.get(run, 1e-4))
    one, two = (weights.load(folder / run / BEST, run.partition("-")[0]).model for folder in folders)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-3)  # Adam amplifies noise


def test_folds_are_judged_once(store, tmp_path):
    folder = tmp_path / "folds"
    folder.mkdir()
    metas = ElementStore(store / "elements").metas
    sources = sorted({(meta.source, meta.identities[0]) for meta in metas})
    for number, (tested, held) in enumerate((("id1", "id2"), ("id3", "id4")), start=1):
        rows = [
            f"{'test' if who == tested else 'validation' if who == held else 'train'},{who},{source}"
            for source, who in sources
        ]
        (folder / f"fold_{number}.csv").write_text("\n".join(["split,identity,source", *rows]) + "\n")
    recipe = {"epochs": 1, "batch_size": 15}
    config = write_config(store, tmp_path, "mrdf", model=MRDF, train=recipe, runs=str(tmp_path))
    done = torchrun("baseline.py", "--config", str(config), "--folds", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("2 folds, fused score") == 1
    assert len(json.loads((tmp_path / "mrdf-folds.json").read_text())["metrics"]["overall"]["auc"]["folds"]) == 2


def test_user_errors_of_two_processes(store, tmp_path):
    path = write_config(store, tmp_path, "avff", model=AVFF, loss={"adversarial": 0.0}, faithful=True)
    done = torchrun("baseline.py", "--config", str(path))
    assert "avff as released mixes the samples of a batch" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "exitcode  : 2" in done.stderr
