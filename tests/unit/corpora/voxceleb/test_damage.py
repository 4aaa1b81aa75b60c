"""Damaged, truncated and foreign shards and states are refused."""

import hashlib
import io
import tarfile

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.voxceleb.download import DownloadError
from tests.helpers.hub import tar
from tests.helpers.shards import SHARD, clips_of, fetch, on_disk, state_of


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


def test_clips_of_another_data_set(fake, out):
    fake.files[SHARD] = tar({f"{n:05d}.mp4": b"x" for n in range(120)})
    with pytest.raises(UserError, match="100 clips such as 00099.mp4, and none names an identity like id00012"):
        fetch(fake, out)


def test_damaged_state_is_refused(fake, out):
    path = out / ".shards" / f"{SHARD.replace('/', '%2F')}.json"
    path.parent.mkdir(parents=True)
    for text in ("", "{", '{"path": 3}', "[]"):
        path.write_text(text)
        with pytest.raises(UserError, match="damaged; delete this file"):
            fetch(fake, out)


def test_header_that_tarfile_cannot_read_is_damage(fake, out, files):
    broken = tarfile.TarInfo("sparse.m4a")
    broken.pax_headers = {"GNU.sparse.map": "0,x", "GNU.sparse.size": "y"}
    fake.files[SHARD] = broken.tobuf(tarfile.PAX_FORMAT) + tar(files)
    with pytest.raises(DownloadError, match="damaged: a header that cannot be read"):
        fetch(fake, out)
