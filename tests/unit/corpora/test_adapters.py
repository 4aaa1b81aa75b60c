"""VoxCeleb2, KoDF, plain folders and tables of one's own."""

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import list_entries
from tests.helpers.layouts import listed, touch


def test_voxceleb2_with_genders_and_strangers(tmp_path):
    touch(tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "dev/mp4/id00012/21Uxsk56VDQ/fake_video.mp4")
    (tmp_path / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID \tVGGFace2 ID \tGender \tSet \nid00012 \tn000012 \tf \tdev \n"
    )
    entries = listed(tmp_path, "voxceleb2")
    clip = entries["dev/mp4/id00012/21Uxsk56VDQ/00001.mp4"].clip
    assert (clip.tier, clip.identities, clip.gender, clip.base) == ("RVRA", ("id00012",), "women", clip.source)
    assert entries[clip.source].split == "dev"
    stranger = entries["dev/mp4/id00012/21Uxsk56VDQ/fake_video.mp4"]
    assert stranger.clip.tier == "unknown"
    assert stranger.problem.startswith("not named as in VoxCeleb2")


def test_kodf_names_both_identities_of_a_swap(tmp_path):
    touch(tmp_path, "원본/p1/p1_200715_1.mp4", "dfl/p1/p1_p2_1_0001.mp4", "audio/p1_p3_9.mp4", "x/unlisted.mp4")
    (tmp_path / "원본영상_training_메타데이터.csv").write_text(
        "영상ID,UUID,인물성별\np1_200715_1.mp4,p1,남\n", encoding="utf-8-sig"
    )
    (tmp_path / "변조영상_training_메타데이터.csv").write_text(
        "영상ID,타겟영상,타겟UUID,소스UUID,변조모델,인물성별\n"
        "p1_p2_1_0001.mp4,p1_200715_1.mp4,p1,p2,dfl,남\n"
        "p1_p3_9.mp4,p1_200715_1.mp4,p1,,audio-driven,남\n",
        encoding="utf-8",
    )
    entries = listed(tmp_path, "kodf")
    swap = entries["dfl/p1/p1_p2_1_0001.mp4"].clip
    assert (swap.tier, swap.identities, swap.base) == ("FVRA", ("p1", "p2"), "원본/p1/p1_200715_1.mp4")
    assert (swap.method, swap.gender) == ("dfl", "men")
    driven = entries["audio/p1_p3_9.mp4"].clip
    assert (driven.tier, driven.identities) == ("FAKE", ("p1",))
    assert entries["원본/p1/p1_200715_1.mp4"].clip.tier == "RVRA"
    assert entries["x/unlisted.mp4"].problem == "not listed in KoDF's tables"


def test_kodf_without_tables_is_read_by_names(tmp_path):
    one, two = "0a1b2c3d4e5f60718293", "123456"
    touch(
        tmp_path,
        f"dfl/20201105/{one}/{one}_{two}_1_0001.mp4",
        f"audio-driven/20201105/{two}/{two}_{two}_5_0002.mp4",
        f"original/{one}/{one}_001.mp4",
        f"original/{one}/take.mp4",
    )
    entries = listed(tmp_path, "kodf")
    driven, swap, real, other = (entries[source] for source in sorted(entries))
    assert (swap.clip.tier, swap.clip.method, swap.clip.identities) == ("FVRA", "dfl", (one, two))
    assert (driven.clip.tier, driven.clip.method, driven.clip.identities) == ("FAKE", "audio-driven", (two,))
    assert (real.clip.tier, real.clip.identities) == ("RVRA", (one,))
    assert other.problem.startswith("not named as in KoDF")


def test_own_table(tmp_path):
    touch(tmp_path, "a/anna.mp4", "a/swap.mp4", "b/clone.mp4", "b/other.mp4")
    (tmp_path / "clips.csv").write_text(
        "file,label,tier,identity,base,method,gender\n"
        "a/anna.mp4,real,,Anna,,,women\na/swap.mp4,1,,Anna; Bea,a/anna.mp4,swap,\n"
        "b/clone.mp4,,RVFA-VC,,,,\nno.mp4,0,,,,,\n"
    )
    entries = listed(tmp_path, "csv")
    assert [entry.clip.tier for entry in entries.values()] == ["RVRA", "FAKE", "RVFA-VC", "unknown", "RVRA"]
    swap = entries["a/swap.mp4"].clip
    assert (swap.identities, swap.base, swap.method) == (("Anna", "Bea"), "a/anna.mp4", "swap")
    assert entries["b/clone.mp4"].clip.identities == ("clone",)
    assert entries["b/other.mp4"].problem == "not listed in clips.csv"
    assert entries["no.mp4"].problem == "listed in clips.csv, but there is no such file"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label,identiy\na.mp4,real,x\n", "unknown column 'identiy'; did you mean 'identity'?"),
        ("name,label\na.mp4,real\n", "has no column 'file'"),
        ("file,identity\na.mp4,x\n", "neither a column 'label' (real, fake) nor 'tier'"),
        ("file,label\na.mp4,maybe\n", "line 2: label 'maybe'; expected real, fake, 0 or 1"),
        ("file,label\na.mp4,\n", "line 2: neither a label nor a tier"),
        ("file,tier\na.mp4,RVXX\n", "unknown tier 'RVXX'"),
        ("file,label,tier\na.mp4,real,FVFA\n", "label 'real' contradicts tier FVFA"),
        ("file,label\n../a.mp4,real\n", "is not a path relative to"),
        ("file,label\n..\\a.mp4,real\n", "is not a path relative to"),
        ("file,label\na.mp4,real,extra\n", "line 2: more cells than columns"),
        ("file,label,file\na.mp4,real,b.mp4\n", "twice the column 'file'"),
        ("file,label\na.mp4,real\na.mp4,fake\n", "line 3: 'a.mp4' is listed twice"),
        ("file,label,audio_fake_periods\na.mp4,fake,0-1\n", "line 2: audio_fake_periods: '0-1' are no fake periods"),
        ("file,label\n", "has no rows"),
        (b"file,label\n\xff\xfe.mp4,real\n", "cannot be read as CSV"),
    ],
)
def test_invalid_own_tables_are_refused(tmp_path, table, message):
    touch(tmp_path, "a.mp4")
    (tmp_path / "clips.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(UserError) as error:
        list_entries(tmp_path)
    assert message in str(error.value)


def test_plain_root_lists_what_its_table_misses(tmp_path):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "manifest.csv").write_text("file,identity,fake_method\nreal/gone.mp4,A,\n")
    entries = listed(tmp_path, "plain")
    assert entries["real/a.mp4"].problem == ""
    assert entries["real/gone.mp4"].problem == "listed in manifest.csv, but there is no such file"
