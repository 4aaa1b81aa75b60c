"""Exactly the wanted clips of a shard are present in the end, in one run or several."""

import hashlib
import json
from pathlib import Path

import pytest

from avdfd.corpora.voxceleb.download import Hub
from avdfd.corpora.voxceleb.shards import fetch_shard, identity_of, plan, write_manifest
from tests.helpers.hub import REPO, FakeHub, members, serve, tar
from tests.helpers.shards import IDENTITIES, SHARD, Countdown, KilledError, clips_of, fetch, on_disk, state_of


def test_only_clips_of_wanted_identities(fake, out, files):
    fetch(fake, out, "id00017", "id99999")
    assert on_disk(out) == clips_of(files, "id00017")
    state = state_of(out)
    assert (state.done, state.checked, state.identities) == (True, "sha256", set(IDENTITIES))
    assert {name: clip.sha256 for name, clip in state.clips.items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in clips_of(files, "id00017").items()
    }


def test_all_identities(fake, out, files):
    fetch(fake, out)
    assert on_disk(out) == clips_of(files, *IDENTITIES)


def test_keys_of_another_layout(fake, out):
    fake.files[SHARD] = tar(
        {"./dev/mp4/id00012/v/00001.mp4": b"a", "dev_id00017_v_00002.wav": b"b", "d/vid00061.wav": b"c"}
    )
    fetch(fake, out, "id00012", "id00017", "id00061")
    assert on_disk(out) == {"dev/mp4/id00012/v/00001.mp4": b"a", "dev_id00017_v_00002.wav": b"b"}
    assert state_of(out).refused == {"d/vid00061.wav": "names no identity"}


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("id02139/yCPbcLeT5SI/00147.m4a", "id02139"),
        ("dev/aac/id00012/id00099x/1.m4a", "id00012"),
        ("video1/vid123/id7_x/1.m4a", "id7"),
        ("id/x/1.m4a", None),
        ("idx12/1.m4a", None),
    ],
)
def test_the_identity_in_a_key(name, identity):
    assert identity_of(name) == identity


def test_a_second_run_has_nothing_to_do(fake, out):
    fetch(fake, out, "id00012", "id00017")
    fetch(fake, out, "id00012")
    fetch(fake, out, "id00012", "id99999")
    assert len(fake.fetched()) == 1


def test_further_identities_of_a_finished_shard(fake, out, files):
    fetch(fake, out, "id00012")
    fetch(fake, out, "id00061")
    assert on_disk(out) == clips_of(files, "id00012", "id00061")
    assert len(fake.fetched()) == 2
    fetch(fake, out, "id00012", "id00061")
    assert len(fake.fetched()) == 2
    fetch(fake, out)
    assert on_disk(out) == clips_of(files, *IDENTITIES)


def test_further_identities_of_an_unfinished_shard(fake, out, files):
    with pytest.raises(KilledError):
        fetch(fake, out, "id00012", on_clip=Countdown(2))
    fetch(fake, out, "id00061")
    assert fake.fetched()[-1] == (SHARD, None)
    fetch(fake, out, "id00012", "id00061")
    assert on_disk(out) == clips_of(files, "id00012", "id00061")


def test_deleted_or_truncated_clips_are_fetched_again(fake, out, files):
    fetch(fake, out, "id00012")
    first, second, *_ = clips_of(files, "id00012")
    (out / first).unlink()
    (out / second).write_bytes(b"cut")
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(files, "id00012")
    assert state_of(out).refused == {}


def test_user_files_are_not_changed(fake, out, files):
    name = next(iter(clips_of(files, "id00012")))
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"mine")
    fetch(fake, out, "id00012")
    assert (out / name).read_bytes() == b"mine"
    assert state_of(out).refused == {name: "another file with this name exists"}
    assert name not in state_of(out).clips


def test_a_new_version_of_the_shard_is_read_from_its_start(fake, out, files):
    fetch(fake, out, "id00012")
    more = {**files, **members(["id00012"], 2, seed=1)}
    fake.files[SHARD] = tar(more)
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(more, "id00012")


def test_state_of_an_earlier_version_is_read(out):
    """Text as earlier versions wrote it."""
    path = out / ".shards" / "data%2Fone.tar.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        '{"path":"data/one.tar","size":4096,"sha256":null,"wanted":["id00012","id00017"],"offset":1024,"done":false,'
        '"checked":"","people":["id00012"],"clips":{"id00012/a/00001.m4a":{"sha256":"ab","bytes":3}},"refused":{}}'
    )
    state = state_of(out)
    assert (state.left, state.wanted, state.identities) == (3072, {"id00012", "id00017"}, {"id00012"})
    assert state.clips["id00012/a/00001.m4a"].bytes == 3
    state.save(out)
    assert state_of(out) == state
    assert [clip["path"] for clip in map(json.loads, manifest_of(out))] == ["id00012/a/00001.m4a"]


def manifest_of(out: Path) -> list[str]:
    write_manifest(out)
    return (out / "manifest.jsonl").read_text().splitlines()


def test_planning_changes_nothing(fake, out):
    hub = Hub(REPO, base_url=fake.url)
    (shard,) = hub.shards()
    assert plan(shard, out, None).left == len(fake.files[SHARD])
    assert not out.exists()


def test_a_clip_that_two_shards_have_is_listed_once(tmp_path, files):
    again = {**members(IDENTITIES, 3, seed=2), **dict(list(files.items())[:4])}
    with serve(FakeHub({"a.tar": tar(files), "b.tar": tar(again)})) as fake:
        hub = Hub(REPO, base_url=fake.url)
        for shard in hub.shards():
            fetch_shard(hub, shard, tmp_path, None)
    summary = write_manifest(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    expected = clips_of({**again, **files}, *IDENTITIES)
    assert [row["path"] for row in rows] == sorted(expected)
    assert all(row["shard"] == ("a.tar" if row["path"] in files else "b.tar") for row in rows)
    assert all(row["sha256"] == hashlib.sha256(expected[row["path"]]).hexdigest() for row in rows)
    assert summary.size == sum(row["bytes"] for row in rows) == sum(map(len, expected.values()))
    assert summary.identities == {"id00012": 5, "id00017": 5, "id00061": 5}
    assert (summary.done, summary.whole, summary.refused) == (2, 2, [])
