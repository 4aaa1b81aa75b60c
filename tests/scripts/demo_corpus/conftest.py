"""A small built-in corpus."""

from pathlib import Path

import pytest

from tests.helpers.demo_corpus import IDENTITIES, run
from tests.helpers.shared import fill_once


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    def fill(folder: Path) -> None:
        done = run("--out", str(folder / "videos"), "--identities", str(IDENTITIES), "--seed", "1")
        assert done.returncode == 0, done.stderr
        assert "144 clips of 12 identities in 6 tiers (144 made now)" in done.stdout

    return fill_once(tmp_path_factory, "corpus", fill) / "videos"
