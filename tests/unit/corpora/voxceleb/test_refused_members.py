"""Members of a shard that are not written, and are listed with their reasons."""

import tarfile

from avdfd.corpora.voxceleb import shards
from tests.helpers.hub import tar
from tests.helpers.shards import IDENTITIES, SHARD, clips_of, fetch, on_disk, state_of


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


def test_list_of_refused_members_has_an_end(fake, out, files, monkeypatch):
    monkeypatch.setattr(shards, "_LISTED", 5)
    fake.files[SHARD] = tar({**{f"../{number}.m4a": b"x" for number in range(20)}, **files})
    fetch(fake, out)
    assert [*state_of(out).refused][4:] == ["../4.m4a", "(further members)"]
    assert on_disk(out) == clips_of(files, *IDENTITIES)
