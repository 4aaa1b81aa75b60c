"""Shards of VoxCeleb2 fetched from a stand-in of the hub, and what is then on the disk."""

from pathlib import Path

from avdfd.corpora.voxceleb import shards
from avdfd.corpora.voxceleb.download import Hub
from avdfd.corpora.voxceleb.shards import fetch_shard, identity_of, read_state
from tests.helpers.hub import REPO, FakeHub

IDENTITIES = ["id00012", "id00017", "id00061"]
SHARD = "data/one.tar"


def fetch(fake: FakeHub, out: Path, *wanted: str, **values) -> None:
    """Fetch the clips of some identities, or of all."""
    hub = Hub(REPO, base_url=fake.url, retries=2, sleep=lambda seconds: None)
    (shard,) = hub.shards()
    fetch_shard(hub, shard, out, frozenset(wanted) or None, **values)


def on_disk(out: Path) -> dict[str, bytes]:
    """Return the content of the folder without the records."""
    found = (path for path in out.rglob("*") if path.is_file() and ".shards" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def clips_of(files: dict[str, bytes], *identities: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.endswith(".m4a") and identity_of(name) in identities}


def state_of(out: Path, shard: str = SHARD) -> shards.ShardState:
    state = read_state(out, shard)
    assert state is not None
    return state


class KilledError(Exception):
    """Simulates the end of the process."""


class Countdown:
    """End the process at a call."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, *args) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise KilledError
