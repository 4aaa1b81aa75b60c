"""Connections that drop, killed runs and a full disk: the next run fetches what is missing."""

import errno
import io
import os
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from avdfd.core.leftovers import SUFFIX, new_file
from avdfd.corpora.voxceleb import shards
from tests.helpers.hub import Fault
from tests.helpers.shards import IDENTITIES, SHARD, Countdown, KilledError, clips_of, fetch, on_disk, state_of


@pytest.mark.parametrize("cut", range(0, 50_000, 3_331))
def test_a_connection_that_drops_inside_a_member(fake, out, files, cut):
    fake.faults = [Fault(drop_after=cut), Fault(drop_after=1), Fault(drop_after=777)]
    fetch(fake, out, "id00012", "id00061")
    assert on_disk(out) == clips_of(files, "id00012", "id00061")
    assert state_of(out).checked == "sha256"


@pytest.mark.parametrize("clip", range(8))
def test_killed_after_a_clip(fake, out, files, clip):
    with pytest.raises(KilledError):
        fetch(fake, out, "id00012", "id00061", on_clip=Countdown(clip))
    assert len(on_disk(out)) == clip + 1
    before = len(fake.fetched())
    fetch(fake, out, "id00012", "id00061")
    assert on_disk(out) == clips_of(files, "id00012", "id00061")
    assert state_of(out).checked == "size"
    assert len(fake.fetched()) == before + 1


def test_files_that_killed_runs_left_are_swept_but_not_those_in_use(fake, out, files):
    folder = out / next(iter(clips_of(files, "id00012"))).rpartition("/")[0]
    folder.mkdir(parents=True)
    held, used = new_file(folder / "used")
    left = folder / f".left.{SUFFIX}"
    left.touch()
    fetch(fake, out, "id00012")
    os.close(held)
    assert Path(used).exists()
    assert not left.exists()


def test_killed_run_resumes_at_the_first_unfinished_member(fake, out, files):
    with pytest.raises(KilledError):
        fetch(fake, out, on_clip=Countdown(6))
    offset = state_of(out).offset
    with tarfile.open(fileobj=io.BytesIO(fake.files[SHARD])) as archive:
        clips = [member for member in archive if member.name.endswith(".m4a")]
    assert offset == clips[6].offset
    fetch(fake, out)
    assert fake.fetched()[-1] == (SHARD, f"bytes={offset}-")
    assert on_disk(out) == clips_of(files, *IDENTITIES)
    assert state_of(out).checked == "size"


def test_a_state_older_than_the_clips(fake, out, files, monkeypatch):
    """As after SIGKILL: nothing is written at the end."""
    save = shards.ShardState.save
    monkeypatch.setattr(shards.ShardState, "save", lambda state, out: None)
    with pytest.raises(KilledError):
        fetch(fake, out, on_clip=Countdown(5))
    (out / "id00012" / "vid_0-0" / f".00000.m4a.x1y2{SUFFIX}").write_bytes(b"half")
    monkeypatch.setattr(shards.ShardState, "save", save)
    fetch(fake, out)
    assert on_disk(out) == clips_of(files, *IDENTITIES)
    assert state_of(out).clips.keys() == clips_of(files, *IDENTITIES).keys()


def test_the_state_is_written_on_the_way(fake, out, monkeypatch):
    saved: list[int] = []
    monkeypatch.setattr(shards.ShardState, "save", lambda state, out: saved.append(state.offset))
    fetch(fake, out)
    assert len(saved) > 3
    assert all(later - earlier >= 4096 for earlier, later in pairwise(saved[:-1]))


def test_a_full_disk(fake, out, files, monkeypatch):
    write = shards.write_atomic

    def full(path, data):
        if path.suffix == ".m4a" and len(on_disk(out)) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(shards, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(fake, out)
    assert len(on_disk(out)) == 3
    monkeypatch.setattr(shards, "write_atomic", write)
    fetch(fake, out)
    assert on_disk(out) == clips_of(files, *IDENTITIES)
