"""Fixtures of evaluate.py."""

import pytest

import evaluate
from avdfd import report
from tests.helpers.runs import make_run


@pytest.fixture(scope="session")
def data(small_store):
    return small_store


@pytest.fixture(scope="session")
def evaluated(data, tmp_path_factory):
    """A run of stage 2 with validation and test evaluated."""
    run = make_run(tmp_path_factory.mktemp("runs"), "train", data)
    for split in ("validation", "test"):
        evaluate.main(["--run", str(run), "--split", split, "--bootstrap", "50", "--batch-size", "5"])
    return run


@pytest.fixture
def run(data, tmp_path):
    return make_run(tmp_path, "train", data)


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    """They take long to draw; those of `evaluated` are there."""
    monkeypatch.setattr(report, "draw", lambda _: {})
