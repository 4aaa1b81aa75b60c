"""Adapters written from documents: a synthetic tree of each layout."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from avdfd.core.clips import Entry
from avdfd.core.errors import UserError
from avdfd.corpora.layouts import list_entries, read_root
from tests.helpers.layouts import listed, touch


def tiers(entries: dict[str, Entry]) -> dict[str, str]:
    return {Path(source).name: entry.clip.tier for source, entry in entries.items() if not entry.problem}


def test_deepspeak_labels_identities_and_split(tmp_path):
    names = ("284-6860.mp4", "diff2lip-6868-6860-playht.mp4", "facefusion-10-6860.mp4", "memo-1-2-real.mp4")
    touch(tmp_path, *(f"deepspeak-v2-0/{name}" for name in (*names, "hellomeme-3-4-elevenlabs.mp4", "extra.mp4")))
    (tmp_path / "annotations-real.csv").write_text("video-file,identity\n284-6860.mp4,284\ngone.mp4,377\n")
    (tmp_path / "annotations-split-def.csv").write_text("identity,split\n284,train\n377,test\n")
    (tmp_path / "annotations-fake.csv").write_text(
        "video-file,kind,engine,identity-source,identity-target,recording-source,recording-target,audio-config\n"
        "diff2lip-6868-6860-playht.mp4,lip-sync,diff2lip,284,284,6868,6860,playht\n"
        "facefusion-10-6860.mp4,face-swap,facefusion,377,284,10,6860,real\n"
        "memo-1-2-real.mp4,avatar,memo,377,377,1,2,real\n"
        "hellomeme-3-4-elevenlabs.mp4,avatar,hellomeme,284,284,3,4,real\n"
    )
    entries = listed(tmp_path, "deepspeak")
    lips, swap, memo, contradicted = (
        entries[f"deepspeak-v2-0/{name}"] for name in (*names[1:], "hellomeme-3-4-elevenlabs.mp4")
    )
    assert (lips.clip.tier, lips.clip.method, lips.split) == ("FVFA", "diff2lip+playht", "train")
    assert lips.clip.base == swap.clip.base == "deepspeak-v2-0/284-6860.mp4"
    assert (swap.clip.tier, swap.clip.identities, swap.split) == ("FVRA", ("deepspeak:284", "deepspeak:377"), "unknown")
    assert (memo.clip.tier, memo.split) == ("FVRA", "test")
    assert contradicted.clip.tier == "FAKE"
    assert entries["gone.mp4"].problem.startswith("listed in annotations")
    assert entries["deepspeak-v2-0/extra.mp4"].problem.startswith("not listed in annotations")


def test_deepfake_eval_has_unknown_labels(tmp_path):
    touch(tmp_path, *(f"video-data/{name}.mp4" for name in "abcdef"))
    (tmp_path / "video-metadata-publish.csv").write_text(
        "Filename,Date,Video Ground Truth,Audio Ground Truth,Public Comments,Finetuning Set\n"
        "a.mp4,2024-11-14,Fake,Unknown,,train\nb.mp4,2024-11-14,Real,Fake,,test\nc.mp4,2024-11-14,Real,Real,,test\n"
        "d.mp4,2024-11-14,Real,Unknown,,test\ne.mp4,2024-11-14,Fake,Real,,train\nf.mp4,2024-11-14,Unknown,Unknown,,train\n"
    )
    entries = listed(tmp_path, "deepfake-eval-2024")
    assert tiers(entries) == {"a.mp4": "FAKE", "b.mp4": "RVFA", "c.mp4": "RVRA", "e.mp4": "FVRA"}
    assert entries["video-data/d.mp4"].problem == entries["video-data/f.mp4"].problem == "its label is not known"
    assert (entries["video-data/a.mp4"].split, entries["video-data/c.mp4"].clip.method) == ("train", "real")
    (tmp_path / "video-metadata-publish.csv").write_text(
        "Filename,Video Ground Truth,Audio Ground Truth,Finetuning Set\na.mp4,Maybe,Real,test\n"
    )
    with pytest.raises(UserError, match=r"publish.csv: line 2: label 'Maybe'; expected real"):
        list_entries(tmp_path)


def write_arrow(path: Path, columns: dict[str, list]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table)


def test_mavos_dd_modalities_methods_and_open_sets(tmp_path):
    paths = [f"english/memo/{name}.mp4" for name in "abcd"]
    touch(tmp_path, *paths)
    columns = {
        "video_path": paths,
        "label": ["real", "fake", "fake", "fake"],
        "split": ["train", "test", "test", "validation"],
        "language": ["english"] * 4,
        "generative_method": ["real", "memo", "real", "sonic"],
        "open_set_model": [False, True, True, False],
        "open_set_language": [False, False, True, False],
    }
    more = {"audio_fake": [False, False, True, True], "video_fake": [False, True, False, True]}
    more["audio_generative_method"] = [None, None, "knnvc", "freevc"]
    write_arrow(tmp_path / "data-00000-of-00001.arrow", columns | more)
    entries = listed(tmp_path, "mavos-dd")
    assert tiers(entries) == {"a.mp4": "RVRA", "b.mp4": "FVRA", "c.mp4": "RVFA", "d.mp4": "FVFA"}
    assert [entry.clip.method for entry in entries.values()] == ["real", "memo", "knnvc", "sonic+freevc"]
    assert [entry.split for entry in entries.values()] == ["train", "test-open-model", "test-open-set", "validation"]
    write_arrow(tmp_path / "data-00000-of-00001.arrow", columns)
    assert list(tiers(listed(tmp_path, "mavos-dd")).values()) == ["RVRA", "FAKE", "FAKE", "FAKE"]
    columns.pop("open_set_model")
    write_arrow(tmp_path / "data-00000-of-00001.arrow", columns)
    with pytest.raises(UserError, match=r"arrow: has no column 'open_set_model'"):
        list_entries(tmp_path)


def test_mega_mmdf_labels_and_partial_fakes(tmp_path):
    touch(tmp_path, "RARV/a.mp4", "RAFV/m/b.mp4", "FARV/m/c.mp4", "FAFV/m/d.mp4", "odd/e.mp4")
    (tmp_path / "train.json").write_text(json.dumps(["Mega-MMDF/RARV/a.mp4", "Mega-MMDF/RAFV/m/b.mp4"]))
    (tmp_path / "test.json").write_text(
        json.dumps(["Mega-MMDF\\FARV\\m\\c.mp4", "Mega-MMDF/FAFV/m/d.mp4", "Mega-MMDF/odd/e.mp4"])
    )
    attributes = {"Mega-MMDF/FARV/m/c.mp4": {"partial_fake_segments": [0.5, 2]}, "Mega-MMDF/RARV/a.mp4": {}}
    (tmp_path / "attributes.json").write_text(json.dumps(attributes))
    entries = listed(tmp_path, "mega-mmdf")
    assert tiers(entries) == {"a.mp4": "RVRA", "b.mp4": "FVRA", "c.mp4": "RVFA", "d.mp4": "FVFA"}
    part = entries["FARV/m/c.mp4"]
    assert (part.split, part.clip.audio_fake_periods, part.clip.visual_fake_periods) == ("test", "[[0.5, 2.0]]", "")
    assert entries["odd/e.mp4"].problem == "its path has none of RARV, RAFV, FARV, FAFV"
    (tmp_path / "train.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"train.json: expected a list of paths"):
        list_entries(tmp_path)


def test_avlips_leaves_its_wav_files_out(tmp_path):
    touch(tmp_path, "0_real/0.mp4", "1_fake/0.mp4", "wav/0_real/0.wav", "wav/1_fake/0.wav")
    entries = listed(tmp_path, "avlips")
    assert {source: entry.clip.tier for source, entry in entries.items()} == {
        "0_real/0.mp4": "RVRA",
        "1_fake/0.mp4": "FVRA",
    }
    assert entries["0_real/0.mp4"].clip.identities != entries["1_fake/0.mp4"].clip.identities
    assert {source for source, _ in read_root(tmp_path).others} == {"wav/0_real/0.wav", "wav/1_fake/0.wav"}


def test_avid_labels_by_folder_and_more_by_columns_json(tmp_path):
    touch(tmp_path, "authentic/s1/a.mp4", "fakes/x/b.mp4", "perturbed/noise_heavy/b.mp4")
    (tmp_path / "metadata.csv").write_text(
        "path,who,official_split\nauthentic/s1/a.mp4,s1,False\nfakes/x/b.mp4,s1,True\n"
    )
    entries = listed(tmp_path, "avid")
    facts = {source: (entry.clip.tier, entry.clip.method, entry.split) for source, entry in entries.items()}
    assert facts == {
        "authentic/s1/a.mp4": ("RVRA", "real", "unknown"),
        "fakes/x/b.mp4": ("FAKE", "unknown", "unknown"),
    }
    assert entries["authentic/s1/a.mp4"].clip.identities != entries["fakes/x/b.mp4"].clip.identities
    assert [source for source, _ in read_root(tmp_path).others] == ["perturbed/noise_heavy/b.mp4"]
    (tmp_path / "metadata.csv").write_text(
        "path,label,who,official_split\nauthentic/s1/a.mp4,authentic,s1,False\nfakes/x/b.mp4,fake,s1,True\n"
    )
    columns = {"file": "path", "label": "label", "identity": "who", "split": "official_split"}
    content = {"table": "metadata.csv", "columns": columns, "real": ["authentic"]}
    (tmp_path / "columns.json").write_text(json.dumps(content))
    mapped = listed(tmp_path, "columns")
    fake = mapped["fakes/x/b.mp4"]
    assert (fake.clip.tier, fake.clip.identities, fake.split) == ("FAKE", ("s1",), "True")


def test_polyglotfake_pairs_fakes_with_originals(tmp_path):
    touch(
        tmp_path,
        "real/es/es_1.mp4",
        "fake/to_ru/es_1_to_ru_Xtts.mp4",
        "fake/to_ru/en_5_to_ru_Bark.mp4",
        "real/es/x.mp4",
    )
    entries = listed(tmp_path, "polyglotfake")
    fake, lone = entries["fake/to_ru/es_1_to_ru_Xtts.mp4"].clip, entries["fake/to_ru/en_5_to_ru_Bark.mp4"].clip
    assert (fake.tier, fake.base, fake.method) == ("FVFA", "real/es/es_1.mp4", "Xtts")
    assert fake.identities == entries["real/es/es_1.mp4"].clip.identities == ("polyglotfake:es_1",)
    assert (lone.base, lone.identities) == (lone.source, ("polyglotfake:en_5",))
    assert entries["real/es/x.mp4"].problem.startswith("not named as in PolyGlotFake")
    row = {"filename": "es_1_to_ru_Xtts.mp4", "tts_technique": "XTTS", "sync_tech": "Wav2Lip"}
    (tmp_path / "all_fake_video.json").write_text(json.dumps({"video": [row]}))
    assert listed(tmp_path, "polyglotfake")[fake.source].clip.method == "XTTS+Wav2Lip"
    originals = {"videos": [{"filename": f"{name}.mp4", "source": "https://host/v/1"} for name in ("es_1", "en_5")]}
    (tmp_path / "real_json_files").mkdir()
    (tmp_path / "real_json_files" / "es.json").write_text(json.dumps(originals))
    found = listed(tmp_path, "polyglotfake")
    assert (
        found[fake.source].clip.identities == found[lone.source].clip.identities == ("polyglotfake:https://host/v/1",)
    )
    assert [source for source, _ in read_root(tmp_path).others] == []
    (tmp_path / "all_fake_video.json").write_text('{"video": [3]}')
    with pytest.raises(UserError, match=r"all_fake_video.json: expected a list of objects with 'filename'"):
        list_entries(tmp_path)


@pytest.mark.parametrize("place", ["", "main/"])
def test_idforge_kinds_and_splits(tmp_path, place):
    real, face = "pristine/id53/id53_08/id53_scene_0083.mp4", "face_tts/id53/id53_08/id53_scene_0083_0_simswap.mp4"
    mixed, voice = "lip_audiomismatch_textmismatch/id01/id01_00/a.mp4", "tts_textgen/id01/id01_00/b.mp4"
    touch(tmp_path, *(place + name for name in (real, face, mixed, voice)), "ref/pristine/id53/id53_01/c.mp4")
    (tmp_path / f"{place}val.csv").write_text(f"{face}\n{face}\npristine/id02/id02_00/gone.mp4\n")
    entries = listed(tmp_path, "idforge")
    assert [entries[place + name].clip.tier for name in (real, face, mixed, voice)] == ["RVRA", "FVFA", "FVRA", "RVFA"]
    fake = entries[place + face]
    assert (fake.split, fake.clip.method, fake.clip.identities, fake.repeated) == (
        "val", "face_tts:simswap", ("idforge:id53",), 1
    )  # fmt: skip
    assert entries[place + real].split == "unknown"
    reference = entries["ref/pristine/id53/id53_01/c.mp4"]
    assert (reference.clip.tier, reference.split, reference.clip.identities) == ("RVRA", "reference", ("idforge:id53",))
    assert entries[f"{place}pristine/id02/id02_00/gone.mp4"].problem.startswith("listed in train.csv, val.csv or")


def test_digifakeav_folders_name_tier_and_method(tmp_path):
    raw = "Real_with_audio/DigiFakeAV_real_1_500/real_videos_1.audio.wav"
    touch(tmp_path, "real_videos/real_videos_8.mp4", "FVRA_sonic_10001_20000/real_videos_8.mp4", raw, "odd/x.mp4")
    touch(tmp_path, "FVFA_with_audio/DigiFakeAV_hallo_15001_15500/NEOreal_18.mp4", "few_examples/FVFA_9508.mp4")
    entries = listed(tmp_path, "digifakeav")
    facts = {source: (entry.clip.tier, entry.clip.method) for source, entry in entries.items() if not entry.problem}
    assert facts == {
        "real_videos/real_videos_8.mp4": ("RVRA", "real"),
        "FVRA_sonic_10001_20000/real_videos_8.mp4": ("FVRA", "sonic"),
        "FVFA_with_audio/DigiFakeAV_hallo_15001_15500/NEOreal_18.mp4": ("FVFA", "hallo"),
        "few_examples/FVFA_9508.mp4": ("FVFA", "unknown"),
    }
    assert entries["odd/x.mp4"].problem == "no folder or name of it has real, FVRA or FVFA"
    (reason,) = [reason for source, reason in read_root(tmp_path).others if source == raw]
    assert reason.startswith("the audio of raw frames; make MP4")


def test_talkingheadbench_identities_and_splits(tmp_path):
    fake, more = "fake/Hallo/test/00012--abc_1--Hallo.mp4", "fake/additional_dataset/MAGI-1/00013--x--MAGI-1.mp4"
    third = "fake/additional_dataset/Hallo3/00014-abc_1.mp4"
    touch(tmp_path, fake, more, third, "true/abc_1.mp4", "audio/fake/abc_1.wav", "elsewhere/z.mp4")
    (tmp_path / "real").mkdir()
    names = {"Train": {"FaceForensics++": ["000.mp4"], "CelebV-HQ": []}, "Test": {"CelebV-HQ": ["abc_1.mp4"]}}
    (tmp_path / "real" / "real_dataset_split_official_ff++.json").write_text(json.dumps(names))
    entries = listed(tmp_path, "talkingheadbench")
    assert entries[third].clip.identities == ("thb:00014", "thb:abc_1")
    assert (entries["true/abc_1.mp4"].split, entries["true/abc_1.mp4"].clip.tier) == ("test", "RVRA")
    assert (entries[fake].clip.tier, entries[fake].clip.method, entries[fake].split) == ("FVRA", "Hallo", "test")
    assert entries[fake].clip.identities == ("thb:00012", "thb:abc_1")
    assert entries["true/abc_1.mp4"].clip.identities == ("thb:abc_1",), "the driving clip and its real video"
    assert (entries[more].clip.tier, entries[more].clip.method, entries[more].split) == ("FAKE", "MAGI-1", "additional")
    assert entries["elsewhere/z.mp4"].problem.startswith("not placed as in TalkingHeadBench")
    assert [source for source, _ in read_root(tmp_path).others] == ["audio/fake/abc_1.wav"]


def test_plain_folders_with_methods_and_splits_stay_plain(tmp_path):
    touch(tmp_path, "real/a.mp4", "fake/wav2lip/train/a.mp4", "fake/wav2lip/test/b--c.mp4")
    entries = listed(tmp_path, "plain")
    assert [entry.clip.tier for entry in entries.values()] == ["FAKE", "FAKE", "RVRA"]
