"""Exactly the wanted clips of a shard are present in the end, despite all failures."""

import errno
import hashlib
import io
import json
import os
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.core.leftovers import SUFFIX, new_file
from avdfd.corpora.voxceleb import shards
from avdfd.corpora.voxceleb.download import DownloadError, Hub
from avdfd.corpora.voxceleb.shards import fetch_shard, identity_of, plan, read_state, write_manifest
from tests.helpers.hub import REPO, FakeHub, Fault, members, serve, tar

IDENTITIES = ["id00012", "id00017", "id00061"]
SHARD = "data/one.tar"


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


def test_wrong_sha256_deletes_the_clips(fake, out, files):
    good = dict(fake.files)
    flipped = bytearray(good[SHARD])
    flipped[700] ^= 1
    fake.listed = {SHARD: {"lfs": {"oid": hashlib.sha256(good[SHARD]).hexdigest()}}}
    fake.files[SHARD] = bytes(flipped)
    with pytest.raises(DownloadError, match="damaged: its sha256 is"):
        fetch(fake, out, "id00012")
    assert on_disk(out) == {}
    assert state_of(out).offset == 0
    fake.files = good
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(files, "id00012")


def test_truncated_shard_gives_its_clips_once_it_is_complete(fake, out, files):
    whole = fake.files[SHARD]
    fake.listed = {SHARD: {"size": len(whole), "lfs": {"oid": hashlib.sha256(whole).hexdigest()}}}
    fake.files[SHARD] = whole[:20_000]
    with pytest.raises(
        DownloadError, match=f"truncated or changed: 20000 bytes on the server, {len(whole)} in its list"
    ):
        fetch(fake, out, "id00012")
    fake.chunked = True
    with pytest.raises(DownloadError, match=f"truncated: nothing at byte 20000 of {len(whole)}"):
        fetch(fake, out, "id00012")
    assert 0 < len(on_disk(out)) < len(clips_of(files, "id00012"))
    fake.files[SHARD] = whole
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(files, "id00012")


def test_truncated_archive(fake, out):
    """The hub itself has the damaged file, so size and sha256 match."""
    whole = fake.files[SHARD]
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        member = archive.getmembers()[9]
    for end in (member.offset_data + 100, member.offset + 100):
        fake.files[SHARD] = whole[:end]
        with pytest.raises(DownloadError, match="damaged"):
            fetch(fake, out)
        assert on_disk(out) == {}
    broken = bytearray(whole)
    broken[member.offset : member.offset + 512] = b"\xff" * 512
    fake.files[SHARD] = bytes(broken)
    with pytest.raises(DownloadError, match=f"damaged: no header of a member at byte \\d+ of {len(whole)}"):
        fetch(fake, out)


@pytest.mark.parametrize("data", [b"<html>no tar</html>" * 100, b"", b"\x1f\x8b" + b"x" * 2000])
def test_file_that_is_not_a_tar(fake, out, data):
    fake.files[SHARD] = data
    with pytest.raises(DownloadError, match="damaged"):
        fetch(fake, out)


def link(name: str, kind: bytes = tarfile.SYMTYPE, to: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_names_that_lead_elsewhere_links_and_devices_are_refused_and_listed(fake, out, files):
    bad: dict[str, bytes | tarfile.TarInfo] = {
        "../id00012/evil.m4a": b"x",
        "id00012/../../evil.m4a": b"x",
        "/id00012/evil.m4a": b"x",
        "../evil.cls": b"x",
        "id00012/v/link.m4a": link("id00012/v/link.m4a"),
        "id00012/v/hard.m4a": link("id00012/v/hard.m4a", tarfile.LNKTYPE, "../x"),
        "id00012/v/pipe.m4a": link("id00012/v/pipe.m4a", tarfile.FIFOTYPE),
        "id00012/v/.hidden.m4a": b"x",
        ".shards/id00012.m4a": b"x",
        "id00012/v/new\nline.m4a": b"x",
        f"id00012/{'n' * 300}.m4a": b"x",
        "id00012\\..\\evil.m4a": b"x",
        "id00012/\udcff.m4a": b"x",
    }
    folder = {"id00012": link("id00012", tarfile.DIRTYPE, "")}
    fake.files[SHARD] = tar({**folder, **bad, **files})
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(files, "id00012")
    assert set(out.parent.iterdir()) == {out}
    reasons = state_of(out).refused
    assert set(reasons) == {ascii(name)[1:-1] for name in bad}
    assert [*reasons.values()] == [
        *["its path leads out of the folder"] * 4,
        *["it is not a regular file"] * 3,
        *["its name has forbidden characters or is too long"] * 6,
    ]


def test_member_too_large_for_a_clip(fake, out, files, monkeypatch):
    monkeypatch.setattr(shards, "LARGEST_CLIP", 2000)
    fetch(fake, out)
    assert on_disk(out) == {n: d for n, d in clips_of(files, *IDENTITIES).items() if len(d) <= 2000}
    assert set(state_of(out).refused) == {n for n, d in clips_of(files, *IDENTITIES).items() if len(d) > 2000}


def test_clips_of_another_data_set(fake, out):
    fake.files[SHARD] = tar({f"{n:05d}.mp4": b"x" for n in range(120)})
    with pytest.raises(UserError, match="100 clips such as 00099.mp4, and none names an identity like id00012"):
        fetch(fake, out)


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


def test_damaged_state_is_refused(fake, out):
    path = out / ".shards" / f"{SHARD.replace('/', '%2F')}.json"
    path.parent.mkdir(parents=True)
    for text in ("", "{", '{"path": 3}', "[]"):
        path.write_text(text)
        with pytest.raises(UserError, match="damaged; delete this file"):
            fetch(fake, out)


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


def test_members_that_cannot_be_written_are_listed_and_the_others_taken(fake, out, files):
    """A clip below another clip, a path that is too long for the system, and a name of 1 MB."""
    name = b"n" * (1 << 20)
    forged = link("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    forged.size = len(name)
    block = forged.tobuf(tarfile.GNU_FORMAT) + name
    first, *_ = clips_of(files, "id00012")
    deep = "id00012/" + "/".join(["d" * 200] * 30) + "/1.m4a"
    fake.files[SHARD] = block + tar({**files, f"{first}/below.m4a": b"x", deep: b"x"})
    fetch(fake, out, "id00012")
    assert on_disk(out) == clips_of(files, "id00012")
    refused = state_of(out).refused
    assert refused[f"{first}/below.m4a"] == "cannot be written: File exists"
    assert refused[deep] == "cannot be written: File name too long"
    assert refused["././@LongLink"] == "it is not a regular file"
    assert len(refused) == 3


def test_header_that_tarfile_cannot_read_is_damage(fake, out, files):
    broken = tarfile.TarInfo("sparse.m4a")
    broken.pax_headers = {"GNU.sparse.map": "0,x", "GNU.sparse.size": "y"}
    fake.files[SHARD] = broken.tobuf(tarfile.PAX_FORMAT) + tar(files)
    with pytest.raises(DownloadError, match="damaged: a header that cannot be read"):
        fetch(fake, out)


def test_list_of_refused_members_has_an_end(fake, out, files, monkeypatch):
    monkeypatch.setattr(shards, "_LISTED", 5)
    fake.files[SHARD] = tar({**{f"../{number}.m4a": b"x" for number in range(20)}, **files})
    fetch(fake, out)
    assert [*state_of(out).refused][4:] == ["../4.m4a", "(further members)"]
    assert on_disk(out) == clips_of(files, *IDENTITIES)
