import json
from pathlib import Path

import pytest

from avdfd.core.clips import Entry
from avdfd.core.errors import UserError
from avdfd.corpora.layouts import LAYOUTS, find_layout, list_entries


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(root: Path, layout: str) -> dict[str, Entry]:
    """Return entries by source; the layout must also be the detected one."""
    assert find_layout(root) == layout
    return {entry.clip.source: entry for entry in list_entries(root)}


def test_fakeavceleb_with_missing_files_and_files_listed_twice(tmp_path):
    real = "RealVideo-RealAudio/African/men/id00076/00109.mp4"
    swap = "FakeVideo-FakeAudio/African/men/id00076/00109_id01661_xid99Monh-_4_id04547_wavtolip.mp4"
    gone = "FakeVideo-RealAudio/African/men/id00076/00109_id00166_wavtolip.mp4"
    touch(tmp_path, real, swap)
    (tmp_path / "meta_data.csv").write_text(
        "source,target1,target2,method,category,type,race,gender,path,\n"
        f"id00076,id01661,id04547,wav2lip,D,FakeVideo-FakeAudio,African,men,{Path(swap).name},"
        "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
        f"id00076,id01661,id07777,faceswap-wav2lip,D,FakeVideo-FakeAudio,African,men,{Path(swap).name},"
        "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
        f"id00076,id00166,-,wav2lip,C,FakeVideo-RealAudio,African,men,{Path(gone).name},"
        "FakeAVCeleb/FakeVideo-RealAudio/African/men/id00076\n"
    )
    entries = listed(tmp_path, "fakeavceleb")
    assert entries[swap].clip.identities == ("id00076", "id01661", "id04547", "id07777")
    assert entries[swap].clip.method == "wav2lip"
    assert entries[swap].clip.base == real
    assert entries[real].problem == entries[swap].problem == ""
    assert entries[gone].problem == "listed in meta_data.csv, but there is no such file"
    assert (entries[gone].clip.tier, entries[gone].clip.base) == ("FVRA", real)


def test_fakeavceleb_table_that_another_program_wrote_again(tmp_path):
    """pandas names the last column, and puts one of numbers without a name before the first."""
    row = (
        "id00076,-,-,real,A,RealVideo-RealAudio,Asian (East),men,1.mp4,FakeAVCeleb/RealVideo-RealAudio/Asian (East)/men"
    )
    touch(tmp_path, "RealVideo-RealAudio/Asian (East)/men/id00076/2.mp4")
    (tmp_path / "meta_data.csv").write_text(
        f",source,target1,target2,method,category,type,race,gender,path,Unnamed: 9\n0,{row}/id00076\n"
    )
    entries = listed(tmp_path, "fakeavceleb")
    gone = entries["RealVideo-RealAudio/Asian (East)/men/id00076/1.mp4"]
    assert (gone.clip.race, gone.problem) == ("Asian (East)", "listed in meta_data.csv, but there is no such file")


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


def test_av_deepfake1m_tiers_periods_and_originals(tmp_path):
    folder = "id00012/21Uxsk56VDQ/00001"
    touch(tmp_path, *(f"train/{folder}/{name}.mp4" for name in ("real", "fake_video_fake_audio", "extra")))
    touch(tmp_path, "val/lrs3/0af00/00002/fake_video_real_audio.mp4")
    (tmp_path / "train_metadata.json").write_text(
        json.dumps(
            [
                {"file": f"{folder}/real.mp4", "modify_type": "real", "split": "train", "fake_segments": []},
                {
                    "file": f"{folder}/fake_video_fake_audio.mp4",
                    "modify_type": "both-modified",
                    "split": "train",
                    "original": f"{folder}/real.mp4",
                    "audio_model": "vits",
                    "fake_segments": [[0.5, 1.25]],
                },
                {"file": f"{folder}/gone.mp4", "modify_type": "audio_modified", "split": "train"},
            ]
        )
    )
    (tmp_path / "val_metadata.json").write_text(
        json.dumps([{"file": "lrs3/0af00/00002/fake_video_real_audio.mp4", "modify_type": "visual_modified"}])
    )
    entries = listed(tmp_path, "av-deepfake1m")
    real, fake = (entries[f"train/{folder}/{name}.mp4"] for name in ("real", "fake_video_fake_audio"))
    assert (real.clip.tier, real.clip.fake_periods, real.clip.base) == ("RVRA", None, real.clip.source)
    assert (fake.clip.tier, fake.clip.base, fake.clip.method) == ("FVFA", real.clip.source, "vits")
    assert fake.clip.fake_periods == ((0.5, 1.25),)
    assert fake.clip.audio_fake_periods == fake.clip.visual_fake_periods == "[[0.5, 1.25]]"  # not stated by modality
    assert fake.clip.identities == real.clip.identities == ("id00012",)
    assert entries[f"train/{folder}/extra.mp4"].problem == "not listed in *_metadata.json"
    assert entries[f"train/{folder}/gone.mp4"].problem.startswith("listed in *_metadata.json, but")
    other = entries["val/lrs3/0af00/00002/fake_video_real_audio.mp4"]
    assert (other.clip.tier, other.split) == ("FVRA", "val")
    assert other.clip.identities == ("av-deepfake1m:lrs3/0af00",)


def test_av_deepfake1m_periods_of_each_modality(tmp_path):
    touch(tmp_path, *(f"val/{name}.mp4" for name in "abcd"))
    either, audio, visual = [[0.5, 1.25], [3, 3.5]], [[0.5, 1.25]], [[3, 3.5], [0.6, 1.0]]
    periods = {"fake_segments": either, "audio_fake_segments": audio, "visual_fake_segments": visual}
    rows = [
        {"file": "a.mp4", "modify_type": "both_modified", **periods},
        {"file": "b.mp4", "modify_type": "audio_modified", "fake_segments": audio, "visual_fake_segments": []},
        {"file": "c.mp4", "modify_type": "real", "fake_segments": [[5, 1]]},
        {"file": "d.mp4", "modify_type": "visual_modified", "fake_segments": [[5, 1]]},
    ]
    (tmp_path / "val_metadata.json").write_text(json.dumps(rows))
    entries = listed(tmp_path, "av-deepfake1m")
    a, b, c, d = (entries[f"val/{name}.mp4"] for name in "abcd")
    assert a.clip.fake_periods == ((0.5, 1.25), (3.0, 3.5))
    assert (a.clip.audio_fake_periods, a.clip.visual_fake_periods) == ("[[0.5, 1.25]]", "[[0.6, 1.0], [3.0, 3.5]]")
    assert (b.clip.audio_fake_periods, b.clip.visual_fake_periods) == ("[[0.5, 1.25]]", "")
    assert [a.clip.window_label(*times).modalities for times in ((0, 3), (3, 6), (6, 9))] == [(1, 1), (0, 1), (0, 0)]
    assert (c.problem, c.clip.fake_periods, c.clip.visual_fake_periods) == ("", None, "")
    assert d.problem == "fake_segments: [5, 1] is not a period"


def test_av_deepfake1m_plus_plus_models_subjects_and_originals(tmp_path):
    """A real clip states its video in VoxCeleb2, or the clip that it is a part of; neither is a fake's base."""
    clip, silent = "vox_celeb_2/id01358/_1nATum8x78/00030", "silent_videos/subject_7_ab12_vid_1_{}"
    rows = [
        {
            "file": f"{clip}/real.mp4",
            "modify_type": "real",
            "original": "VoxCeleb2/dev/mp4/id01358/_1nATum8x78/00030.mp4",
        },
        {"file": f"{clip}/real_p1.mp4", "modify_type": "real", "original": f"{clip}/real.mp4", "audio_model": None},
        {
            "file": f"{clip}/both.mp4",
            "modify_type": "both_modified",
            "original": f"{clip}/real_p1.mp4",
            "video_model": "Talklip",
            "audio_model": "vits",
            "fake_segments": [[1, 2]],
        },
        {
            "file": f"{clip}/lips.mp4",
            "modify_type": "visual_modified",
            "original": f"{clip}/real.mp4",
            "video_model": "diff2lip",
            "audio_model": None,
            "fake_segments": [[1, 2]],
            "visual_fake_segments": [[1, 2]],
            "audio_fake_segments": [[1, 2]],
        },
        {"file": f"{silent.format(1)}/real.mp4", "modify_type": "real", "original": None},
        {"file": f"{silent.format(2)}/real.mp4", "modify_type": "real", "original": None},
    ]
    touch(tmp_path, *(f"val/{row['file']}" for row in rows))
    (tmp_path / "val_metadata.json").write_text(json.dumps(rows))
    entries = listed(tmp_path, "av-deepfake1m")
    real, part, both, lips = (entries[f"val/{clip}/{name}.mp4"].clip for name in ("real", "real_p1", "both", "lips"))
    assert {entry.base for entry in (real, part, both, lips)} == {real.source}
    assert [entry.method for entry in (real, part, both, lips)] == ["real", "real", "Talklip+vits", "diff2lip"]
    assert (lips.audio_fake_periods, lips.visual_fake_periods) == ("", "[[1.0, 2.0]]")
    assert {entry.identities for entry in (real, both)} == {("id01358",)}
    for number in (1, 2):
        identities = entries[f"val/{silent.format(number)}/real.mp4"].clip.identities
        assert identities == ("av-deepfake1m:silent_videos/subject_7",)


def test_av_deepfake1m_counts_of_samples_are_not_read(tmp_path):
    """Fakes are reported to have 960 samples more than the table says, so nothing may depend on what it says."""
    touch(tmp_path, "train/a.mp4")
    row = {"file": "a.mp4", "modify_type": "audio_modified", "fake_segments": [[0.5, 1.25]]}
    found = []
    for counts in ({}, {"audio_frames": 64000, "video_frames": 100}, {"audio_frames": 64960, "video_frames": "x"}):
        (tmp_path / "train_metadata.json").write_text(json.dumps([row | counts]))
        found.append(listed(tmp_path, "av-deepfake1m"))
    assert found[0] == found[1] == found[2]


def test_lav_df_goes_back_to_the_first_original(tmp_path):
    touch(tmp_path, "train/000001.mp4", "train/000002.mp4", "test/000003.mp4")
    rows = [
        {"file": "train/000001.mp4", "modify_video": False, "modify_audio": False, "original": None},
        {"file": "train/000002.mp4", "modify_video": False, "modify_audio": True, "original": "train/000001.mp4"},
        {"file": "test/000003.mp4", "modify_video": True, "modify_audio": False, "original": "train/000002.mp4"},
    ]
    rows[2] |= {"fake_periods": [[1, 2.5]], "split": "test"}
    (tmp_path / "metadata.min.json").write_text(json.dumps(rows))
    entries = listed(tmp_path, "lav-df")
    assert [entry.clip.tier for entry in entries.values()] == ["FVRA", "RVRA", "RVFA"]
    assert {entry.clip.base for entry in entries.values()} == {"train/000001.mp4"}
    assert {entry.clip.identities for entry in entries.values()} == {("lav-df:train/000001",)}
    assert entries["test/000003.mp4"].clip.fake_periods == ((1.0, 2.5),)
    fake = entries["test/000003.mp4"].clip
    assert (fake.audio_fake_periods, fake.visual_fake_periods) == ("", "[[1.0, 2.5]]")
    assert entries["test/000003.mp4"].split == "test"


def test_lav_df_originals_by_name_and_flags_that_are_texts(tmp_path):
    """`bool("false")` is true."""
    touch(tmp_path, *(f"dev/{number}.mp4" for number in "12345"))
    rows = [
        {"file": "dev/1.mp4", "modify_video": False, "modify_audio": False, "original": None},
        {"file": "dev/2.mp4", "modify_video": "false", "modify_audio": "true", "original": "1.mp4"},
        {"file": "dev/3.mp4", "modify_video": 0, "modify_audio": 1, "original": "train/1.mp4"},
        {"file": "dev/4.mp4", "modify_video": None, "modify_audio": False, "original": None},
        {"file": "dev/5.mp4", "modify_video": float("nan"), "modify_audio": True, "original": "."},
    ]
    (tmp_path / "metadata.json").write_text(json.dumps(rows))
    entries = listed(tmp_path, "lav-df")
    tiers = [entry.clip.tier for entry in entries.values()]
    assert tiers == ["RVRA", "RVFA", "RVFA", "unknown", "FAKE"]
    assert {entries[f"dev/{number}.mp4"].clip.base for number in "123"} == {"dev/1.mp4"}
    assert entries["dev/4.mp4"].problem == "its label is not known"
    (tmp_path / "metadata.json").write_text(json.dumps([rows[0] | {"modify_audio": "perhaps"}]))
    with pytest.raises(UserError, match=r"metadata.json: entry 0: modify_audio: 'perhaps'; expected real, 0, false"):
        list_entries(tmp_path)


def test_dfdc_parts(tmp_path):
    touch(tmp_path, "dfdc_train_part_0/aaa.mp4", "dfdc_train_part_0/bbb.mp4", "dfdc_train_part_1/ccc.mp4")
    part = {"aaa.mp4": {"label": "REAL", "split": "train"}, "bbb.mp4": {"label": "FAKE", "original": "aaa.mp4"}}
    (tmp_path / "dfdc_train_part_0" / "metadata.json").write_text(json.dumps(part))
    (tmp_path / "dfdc_train_part_1" / "metadata.json").write_text(json.dumps({"ccc.mp4": {"label": "REAL"}}))
    entries = listed(tmp_path, "dfdc")
    fake = entries["dfdc_train_part_0/bbb.mp4"].clip
    assert (fake.tier, fake.base, fake.identities) == ("FAKE", "dfdc_train_part_0/aaa.mp4", ("dfdc:aaa",))
    assert entries["dfdc_train_part_1/ccc.mp4"].clip.tier == "RVRA"
    (tmp_path / "dfdc_train_part_1" / "metadata.json").write_text(json.dumps({"ccc.mp4": {"label": "?"}}))
    with pytest.raises(UserError, match=r"metadata.json: ccc.mp4: label '\?'; expected REAL or FAKE"):
        list_entries(tmp_path)


def test_dfdc_test_and_its_labels(tmp_path):
    touch(tmp_path, "t/a.mp4", "t/b.mp4", "u/c.mp4")
    (tmp_path / "t" / "metadata.json").write_text(
        '{"a.mp4": {"is_fake": 0, "augmentations": {}}, "b.mp4": {"is_fake": 1}}'
    )
    (tmp_path / "t" / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    (tmp_path / "u" / "labels.csv").write_text("filename,label\nc.mp4,1\n")
    entries = listed(tmp_path, "dfdc")
    assert [(e.clip.tier, e.problem, e.repeated) for e in entries.values()] == [
        ("RVRA", "", 0), ("FAKE", "", 0), ("FAKE", "", 0)
    ]  # fmt: skip
    (tmp_path / "t" / "labels.csv").write_text("filename,label\na.mp4,1\n")
    with pytest.raises(UserError, match=r"labels.csv: a.mp4: the label contradicts that in .*metadata.json"):
        list_entries(tmp_path)
    (tmp_path / "t" / "metadata.json").write_text('{"a.mp4": {"is_fake": 2}}')
    with pytest.raises(UserError, match=r"metadata.json: a.mp4: label '2'; expected REAL or FAKE, or 0 or 1"):
        list_entries(tmp_path)
    (tmp_path / "t" / "metadata.json").write_text('{"a.mp4": {"is_fake": 1}, "a.mp4": {"is_fake": 0}}')
    with pytest.raises(UserError, match=r"metadata.json: .*'a.mp4' is there twice"):
        list_entries(tmp_path)


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


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_refuses_an_empty_root(tmp_path, layout):
    with pytest.raises(UserError, match=str(tmp_path)):
        list_entries(tmp_path, layout)


def test_wrong_layout_and_missing_root(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        list_entries(tmp_path / "missing")
    touch(tmp_path, "real/a.mp4")
    with pytest.raises(UserError, match="no metadata.json .* as LAV-DF has it"):
        list_entries(tmp_path, "lav-df")
    with pytest.raises(UserError, match="no video files in the layout voxceleb2 .*not named as in VoxCeleb2"):
        list_entries(tmp_path, "voxceleb2")


def test_broken_json_names_the_file(tmp_path):
    touch(tmp_path, "train/a.mp4")
    (tmp_path / "train_metadata.json").write_text('[{"file": "a.mp4", ')
    with pytest.raises(UserError, match="train_metadata.json: cannot be read as JSON"):
        list_entries(tmp_path)
    (tmp_path / "train_metadata.json").write_text('[{"file": "a.mp4"}]')
    with pytest.raises(UserError, match="train_metadata.json: entry 0 has no 'modify_type'"):
        list_entries(tmp_path)


def test_speech_of_many_pages(tmp_path):
    rows = [
        "real/gt1.flac,bonafide,real,LJ,u1,x/one,kind=copysyn_gt;lang=en",
        "fake/v1.flac,fake,WaveNet,LJ,u1,x/one,kind=copysyn",
        "real/p.flac,bonafide,real,VCTK-p225,u2,y/two,kind=vc_source",
        "fake/vc.flac,spoof,AutoVC,two-F_p253_219,u2,y/two,kind=vc;target=F_p253_219",
        "fake/free.flac,fake,YourTTS,VCTK-p225,,y/two,kind=vc;source=VCTK-p335",
        "fake/tts.flac,fake,VITS,someone,,y/two,kind=tts",
        "fake/gone.flac,fake,VITS,LJ,u1,x/one,kind=tts",
    ]
    touch(tmp_path, "real/gt1.flac", "real/p.flac", *(f"fake/{n}.flac" for n in ("v1", "vc", "free", "tts", "more")))
    header = "file,label,method,speaker,pair_id,source_repo,notes"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    assert find_layout(tmp_path) == "speech"
    entries = {entry.clip.source: entry for entry in list_entries(tmp_path, audio=True)}
    real, copy = entries["real/gt1.flac"].clip, entries["fake/v1.flac"].clip
    assert (real.tier, real.identities, real.base, real.page) == ("RVRA", ("LJ",), "real/gt1.flac", "x/one")
    assert (copy.tier, copy.identities, copy.base, copy.method) == ("RVFA-SVC", ("LJ",), "real/gt1.flac", "WaveNet")
    converted = entries["fake/vc.flac"].clip
    assert (converted.tier, converted.identities) == ("RVFA-VC", ("VCTK-p253", "VCTK-p225"))
    assert converted.base == "real/p.flac"
    free = entries["fake/free.flac"].clip
    assert (free.identities, free.base) == (("VCTK-p225", "VCTK-p335"), "fake/free.flac")
    assert (entries["fake/tts.flac"].clip.tier, entries["fake/tts.flac"].clip.identities) == (
        "RVFA", ("someone (y/two)",),
    )  # fmt: skip
    assert entries["fake/more.flac"].problem == "not listed in manifest.csv"
    assert entries["fake/gone.flac"].problem.startswith("listed in manifest.csv, but")
    with pytest.raises(UserError, match="no video files in the layout speech"):
        list_entries(tmp_path)
    (tmp_path / "manifest.csv").write_text(f"{header}\nfake/tts.flac,maybe,VITS,LJ,,y/two,\n")
    with pytest.raises(UserError, match=r"fake/tts.flac: label 'maybe'; expected bonafide or fake"):
        list_entries(tmp_path, audio=True)


@pytest.mark.parametrize("key", ["original", "split"])
@pytest.mark.parametrize("value", [7, ["a.mp4"], {"a": "b"}])
def test_values_of_another_type_in_json_tables(key, value, tmp_path):
    (tmp_path / "a.mp4").touch()
    row = {"file": "a.mp4", "modify_video": False, "modify_audio": False, "modify_type": "real", key: value}
    tables = {"lav-df": [row], "av-deepfake1m": [row], "dfdc": {"a.mp4": {"label": "REAL", key: value}}}
    for layout, content in tables.items():
        name = "train_metadata.json" if layout == "av-deepfake1m" else "metadata.json"
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(UserError, match="is not a text"):
            list_entries(tmp_path, layout)
        (tmp_path / name).unlink()
