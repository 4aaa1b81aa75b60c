import json
import signal

import pytest

from tests.runs import AUDIO, VISUAL, make_store

# What is started in the background ignores Ctrl-C, and so do the scripts that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slurm", action="store_true", help="also tests that submit jobs to SLURM")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def stage1(store, tmp_path):
    """Writes a stage-1 config, with changes, and returns its path."""

    def stage1(**changes):
        values = {
            "kind": "pretrain",
            "name": "one",
            "runs": str(tmp_path / "runs"),
            "device": "cpu",
            "data": {
                "elements": str(store / "elements"),
                "splits": str(store / "splits"),
                "fake_tiers": ["RVFA", "RVFA-VC"],
                "workers": 0,
            },
            "augment": {"mel_noise": 0.1, "time_mask": 32},
            "model": AUDIO,
            "optim": {"lr": 1e-3, "epochs": 3, "warmup_epochs": 1, "batch_size": 4},
        }
        path = tmp_path / "pretrain.json"
        path.write_text(json.dumps({**values, **changes}))
        return ["--config", str(path)]

    return stage1


@pytest.fixture
def stage2(store, tmp_path):
    def stage2(**changes):
        values = {
            "kind": "train",
            "name": "two",
            "runs": str(tmp_path / "runs"),
            "device": "cpu",
            "audio": str(tmp_path / "runs" / "one"),
            "data": {
                "elements": str(store / "elements"),
                "splits": str(store / "splits"),
                "fake_tiers": ["RVFA", "FVRA"],
                "workers": 0,
            },
            "augment": {"flip": 0.5},
            "visual": VISUAL,
            "predictor": {"depth": 1, "heads": 2},
            "optim": {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4},
        }
        path = tmp_path / "train.json"
        path.write_text(json.dumps({**values, **changes}))
        return ["--config", str(path)]

    return stage2
