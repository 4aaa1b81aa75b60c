"""Fixtures of the scripts."""

from functools import partial

import pytest

import detect
from data import preprocess
from tests.helpers.in_process import run_in_process


@pytest.fixture
def serial(monkeypatch) -> list[str]:
    """Decode in this process, which is faster; lists the decoded files."""
    done: list[str] = []

    run = partial(run_in_process, started=lambda function, item: done.append(item.source))
    monkeypatch.setattr(preprocess, "run_killable", run)
    return done


@pytest.fixture
def in_process(monkeypatch):
    """Let detect.py cut files without worker processes, which take seconds to start."""
    monkeypatch.setattr(detect, "run_killable", run_in_process)
