from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.corpora.scan import scan

HEADER = "source,target1,target2,method,category,type,race,gender,path,\n"


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_fakeavceleb_folders_and_table(tmp_path):
    real = "RealVideo-RealAudio/African/men/id00076/00109.mp4"
    swap = "FakeVideo-RealAudio/African/men/id00076/00109_id00166_wavtolip.mp4"
    voice = "RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4"
    touch(tmp_path, real, swap, voice, "RealVideo-RealAudio/African/men/id00076/00110.mp4", "notes.txt")
    (tmp_path / "meta_data.csv").write_text(
        HEADER
        + "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/African\n"
        + "id00076,id00166,id00200,faceswap-wav2lip,C,FakeVideo-RealAudio,African,men,"
        + "00109_id00166_wavtolip.mp4,FakeAVCeleb/FakeVideo-RealAudio/African\n"
    )
    clips = {clip.source: clip for clip in scan(tmp_path, TIERS)}
    assert list(clips) == sorted(clips)
    assert len(clips) == 4
    assert clips[real].tier == "RVRA"
    assert clips[real].identities == ("id00076",)
    assert clips[real].base == real
    assert clips[real].method == "real"
    assert clips[swap].identities == ("id00076", "id00166", "id00200")
    assert (clips[swap].base, clips[swap].method, clips[swap].tier) == (real, "faceswap-wav2lip", "FVRA")
    assert (clips[swap].race, clips[swap].gender) == ("African", "men")
    assert clips[voice].base == real
    assert clips[voice].method == "unknown"
    assert clips[swap].path == tmp_path / swap


def test_only_wanted_tiers_are_scanned_with_bases_from_all_tiers(tmp_path):
    touch(tmp_path, "RealVideo-RealAudio/A/men/id1/1.mp4", "RealVideo-FakeAudio-VoiceClone/A/men/id1/1_vc.mp4")
    (clip,) = scan(tmp_path, ["RVFA-VC"])
    assert clip.base == "RealVideo-RealAudio/A/men/id1/1.mp4"
    with pytest.raises(UserError, match="no video files of the tiers FVFA"):
        scan(tmp_path, ["FVFA"])


def test_fake_without_its_original_is_its_own_base(tmp_path):
    touch(tmp_path, "RealVideo-FakeAudio/A/men/id1/1_fake.mp4")
    (clip,) = scan(tmp_path, TIERS)
    assert clip.base == clip.source


def test_plain_folders_by_name_and_by_manifest(tmp_path):
    touch(tmp_path, "real/anna__one.mp4", "real/bert.AVI", "fake/anna__swap__1.webm", "real/.hidden.mp4", "fake/x.json")
    clips = {clip.source: clip for clip in scan(tmp_path, TIERS)}
    assert [(c.source, c.tier, c.identities) for c in clips.values()] == [
        ("fake/anna__swap__1.webm", "FAKE", ("anna",)),
        ("real/anna__one.mp4", "RVRA", ("anna",)),
        ("real/bert.AVI", "RVRA", ("bert",)),
    ]
    (tmp_path / "manifest.csv").write_text("file,identity,fake_method\nfake/anna__swap__1.webm,Anna K.,Swap\n")
    clips = {clip.source: clip for clip in scan(tmp_path, TIERS)}
    fake = clips["fake/anna__swap__1.webm"]
    assert (fake.identities, fake.method, fake.base) == (("Anna K.",), "Swap", fake.source)
    assert clips["real/bert.AVI"].identities == ("bert",)


def test_unusable_roots_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        scan(tmp_path / "missing", TIERS)
    with pytest.raises(UserError, match="empty folder"):
        scan(tmp_path, TIERS)
    touch(tmp_path, "videos/a.mp4")
    with pytest.raises(UserError, match="expected <tier folder>"):
        scan(tmp_path, TIERS)
    touch(tmp_path, "real/readme.txt")
    with pytest.raises(UserError, match="no video files"):
        scan(tmp_path, TIERS)


def test_table_without_its_columns_is_an_error(tmp_path):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "manifest.csv").write_text("name,identity\na,b\n")
    with pytest.raises(UserError, match=r"manifest.csv: has no column 'fake_method'"):
        scan(tmp_path, TIERS)
