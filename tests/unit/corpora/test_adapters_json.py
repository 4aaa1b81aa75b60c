"""Data sets whose tables are JSON: AV-Deepfake1M, LAV-DF and DFDC."""

import json

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import list_entries
from tests.helpers.layouts import listed, touch


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


def test_broken_json_names_the_file(tmp_path):
    touch(tmp_path, "train/a.mp4")
    (tmp_path / "train_metadata.json").write_text('[{"file": "a.mp4", ')
    with pytest.raises(UserError, match="train_metadata.json: cannot be read as JSON"):
        list_entries(tmp_path)
    (tmp_path / "train_metadata.json").write_text('[{"file": "a.mp4"}]')
    with pytest.raises(UserError, match="train_metadata.json: entry 0 has no 'modify_type'"):
        list_entries(tmp_path)


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
