"""A stand-in of the hub with one shard, and a folder for its clips."""

import pytest

from avdfd.corpora.voxceleb import shards
from tests.helpers.hub import FakeHub, members, serve, tar
from tests.helpers.shards import IDENTITIES, SHARD


@pytest.fixture
def files():
    return members(IDENTITIES, 12)


@pytest.fixture
def fake(files):
    with serve(FakeHub({SHARD: tar(files)})) as hub:
        yield hub


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SAVE_EVERY", 4096)
    return tmp_path / "clips"
