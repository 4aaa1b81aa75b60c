"""Folders of tests that are expensive to fill, filled once for all workers of pytest-xdist."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from avdfd.core.files import locked


def fill_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return the folder of this name, which the first worker to ask for it fills; tests must not write to it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with locked(folder / "lock", folder, wait=True):
        if not (folder / "filled").exists():
            fill(folder)
            (folder / "filled").touch()
    return folder
