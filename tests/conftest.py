import signal

import pytest

from avdfd.core.files import sha256_of
from tests.helpers.encoders import encoder_files
from tests.helpers.runs import AUDIO, VISUAL, make_store, write_config

# Background processes ignore Ctrl-C, and the scripts that tests start and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slurm", action="store_true", help="also run tests that submit jobs to SLURM")


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """Folder of `make_store`, shared by all tests of a process, which must not write to it."""
    root = make_store(tmp_path_factory.mktemp("store"))
    before = {path: sha256_of(path) for path in root.rglob("*") if path.is_file()}
    yield root
    changed = [path for path, digest in before.items() if not path.is_file() or sha256_of(path) != digest]
    assert not changed, "a test changed the shared store; make it use a copy"


@pytest.fixture(scope="session")
def store(small_store):
    return small_store


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """Files of drawn encoders by architecture."""
    return encoder_files(tmp_path_factory.mktemp("encoders"))


@pytest.fixture
def stage1(store, tmp_path):
    """Return a function that writes a stage-1 config with changes and returns the arguments that name it."""

    def stage1(**changes):
        values = {
            "augment": {"mel_noise": 0.1, "time_mask": 32},
            "model": AUDIO,
            "optim": {"lr": 1e-3, "epochs": 3, "warmup_epochs": 1, "batch_size": 4},
        }
        return write_config(tmp_path, store, "pretrain", "one", ["RVFA", "RVFA-VC"], values | changes)

    return stage1


@pytest.fixture
def stage2(store, tmp_path):
    def stage2(**changes):
        values = {
            "audio": str(tmp_path / "runs" / "one"),
            "augment": {"flip": 0.5},
            "visual": VISUAL,
            "predictor": {"depth": 1, "heads": 2},
            "optim": {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4},
        }
        return write_config(tmp_path, store, "train", "two", ["RVFA", "FVRA"], values | changes)

    return stage2
