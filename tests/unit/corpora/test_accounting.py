"""Every file and row of an input is a clip, a mismatch or listed otherwise: over all layouts."""

import csv
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avdfd.core.clips import make_entry
from avdfd.core.errors import UserError
from avdfd.core.tiers import TIERS
from avdfd.core.tree import walk
from avdfd.corpora.fakeavceleb import compare
from avdfd.corpora.inventory import FileFacts
from avdfd.corpora.layouts import LAYOUTS, REPEATED, find_layout, read_root
from avdfd.corpora.manifest import make_row, read_manifest, write_manifest
from avdfd.corpora.scan import scan_all, scan_lists, scan_manifest
from avdfd.corpora.video_list import as_splits, read_videos
from avdfd.elements import ElementWriter
from data import preprocess
from data.preprocessing import codec_parity, make_manifest, probe_shortcuts, resynthesise
from tests.helpers.in_process import run_in_process

NFC, NFD = "\u00e9", "e\u0301"
"""A letter as Windows and Linux write it, and as macOS does."""
FAKEAVCELEB = "source,target1,target2,method,category,type,race,gender,path,\n"
SPEECH = "file,label,method,speaker,pair_id,source_repo,notes\n"


def fakeavceleb_row(name: str, tier: str = "RealVideo-RealAudio", folder: str = "") -> str:
    place = folder or f"FakeAVCeleb/{tier}/African/men/id00001"
    return f"id00001,-,-,real,A,{tier},African,men,{name},{place}\n"


def av_row(name: str) -> dict[str, str]:
    return {"file": name, "modify_type": "real"}


def lav_row(name: str) -> dict[str, object]:
    return {"file": name, "modify_video": False, "modify_audio": False}


def arrow(*names: str) -> bytes:
    columns: dict[str, object] = {"label": "real", "split": "test", "generative_method": "real"}
    columns |= {"open_set_model": False, "open_set_language": False}
    table = pa.table({"video_path": [*names], **{key: [value] * len(names) for key, value in columns.items()}})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


ID = "RealVideo-RealAudio/African/men/id00001"
TREES: dict[str, tuple[dict[str, str | bytes], list[str], set[str], set[str], int]] = {
    # layout: tables, files, those that are clips, mismatches, further rows
    "fakeavceleb": (
        {
            "meta_data.csv": FAKEAVCELEB
            + fakeavceleb_row(f"1{NFC}.mp4")
            + fakeavceleb_row("2.mp4", folder="FakeAVCeleb\\RealVideo-RealAudio\\African\\men\\id00001") * 2
            + fakeavceleb_row("gone.mp4")
            + fakeavceleb_row("odd.mp4", "Elsewhere")
        },
        [f"{ID}/1{NFD}.mp4", f"{ID}/2.mp4", f"{ID}/3.mp4"],
        {f"{ID}/1{NFD}.mp4", f"{ID}/2.mp4", f"{ID}/3.mp4"},
        {f"{ID}/gone.mp4", "Elsewhere/African/men/id00001/odd.mp4"},
        1,
    ),
    "voxceleb2": (
        {"vox2_meta.csv": "VoxCeleb2 ID,Gender\nid00001,m\n"},
        ["id00001/v/00001.mp4", "id00001/v/odd.mp4"],
        {"id00001/v/00001.mp4"},
        {"id00001/v/odd.mp4"},
        0,
    ),
    "av-deepfake1m": (
        {"train_metadata.json": json.dumps([av_row(name) for name in (f"a\\{NFC}.mp4", "b.mp4", "b.mp4", "gone.mp4")])},
        [f"train/a/{NFD}.mp4", "train/b.mp4", "train/more.mp4"],
        {f"train/a/{NFD}.mp4", "train/b.mp4"},
        {"train/gone.mp4", "train/more.mp4"},
        1,
    ),
    "lav-df": (
        {"metadata.json": json.dumps([lav_row(name) for name in (f"a\\{NFC}.mp4", "b.mp4", "b.mp4", "gone.mp4")])},
        [f"a/{NFD}.mp4", "b.mp4", "more.mp4"],
        {f"a/{NFD}.mp4", "b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "dfdc": (
        {
            "p/metadata.json": json.dumps({f"{NFC}.mp4": {"is_fake": 0}, "gone.mp4": {"is_fake": 1}}),
            "q/labels.csv": "filename,label\nb.mp4,1\nb.mp4,1\n",
        },
        [f"p/{NFD}.mp4", "p/more.mp4", "q/videos/b.mp4"],
        {f"p/{NFD}.mp4", "q/videos/b.mp4"},
        {"p/gone.mp4", "p/more.mp4"},
        1,
    ),
    "kodf": (
        {"원본영상_training_메타데이터.csv": f"영상ID,UUID\n{NFC}.mp4,p1\nb.mp4,p2\nb.mp4,p2\ngone.mp4,p3\n"},
        [f"x/{NFD}.mp4", "x/b.mp4", "more.mp4"],
        {f"x/{NFD}.mp4", "x/b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "speech": (
        {
            "manifest.csv": SPEECH
            + "".join(f"{name},real,,s,,page,\n" for name in (f"a\\{NFC}.wav", "b.wav", "b.wav", "gone.wav"))
        },
        [f"a/{NFD}.wav", "b.wav", "more.wav"],
        {f"a/{NFD}.wav", "b.wav"},
        {"gone.wav", "more.wav"},
        1,
    ),
    "plain": (
        {
            "manifest.csv": "file,identity,fake_method\n"
            + "".join(f"{name},,\n" for name in (f"real\\{NFC}.mp4", "real/b.mp4", "real/b.mp4", "fake/gone.mp4"))
        },
        [f"real/{NFD}.mp4", "real/b.mp4", "fake/more.mp4", "raw/c.mp4"],
        {f"real/{NFD}.mp4", "real/b.mp4", "fake/more.mp4"},
        {"fake/gone.mp4", "raw/c.mp4"},
        1,
    ),
    "csv": (
        {"clips.csv": f"file,label\na\\{NFC}.mp4,real\nb.mp4,fake\n.\\b.mp4,fake\ngone.mp4,real\n"},
        [f"a/{NFD}.mp4", "b.mp4", "more.mp4"],
        {f"a/{NFD}.mp4", "b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "columns": (
        {
            "columns.json": '{"table": "meta.csv", "columns": {"file": "path", "label": "kind"}}',
            "meta.csv": f"path,kind\na\\{NFC}.mp4,real\nb.mp4,fake\n.\\b.mp4,fake\ngone.mp4,real\n",
        },
        [f"a/{NFD}.mp4", "b.mp4", "more.mp4"],
        {f"a/{NFD}.mp4", "b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "deepspeak": (
        {
            "annotations-real.csv": f"video-file,identity\n{NFC}.mp4,1\nb.mp4,1\nb.mp4,1\ngone.mp4,1\n",
            "annotations-split-def.csv": "identity,split\n1,test\n",
            "annotations-fake.csv": "video-file,engine,identity-source,identity-target,recording-target,audio-config\n",
        },
        [f"x/{NFD}.mp4", "x/b.mp4", "more.mp4"],
        {f"x/{NFD}.mp4", "x/b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "deepfake-eval-2024": (
        {
            "video-metadata-publish.csv": "Filename,Video Ground Truth,Audio Ground Truth,Finetuning Set\n"
            + "".join(f"{name}.mp4,Real,Real,test\n" for name in (NFC, "b", "b", "gone"))
            + "c.mp4,Unknown,Unknown,test\n"
        },
        [f"video-data/{NFD}.mp4", "video-data/b.mp4", "video-data/c.mp4", "more.mp4"],
        {f"video-data/{NFD}.mp4", "video-data/b.mp4"},
        {"gone.mp4", "more.mp4", "video-data/c.mp4"},
        1,
    ),
    "mavos-dd": (
        {"data-00000-of-00001.arrow": arrow(f"a\\{NFC}.mp4", "b.mp4", "b.mp4", "gone.mp4"), "state.json": "{}"},
        [f"a/{NFD}.mp4", "b.mp4", "more.mp4"],
        {f"a/{NFD}.mp4", "b.mp4"},
        {"gone.mp4", "more.mp4"},
        1,
    ),
    "mega-mmdf": (
        {
            "test.json": json.dumps([f"RARV\\{NFC}.mp4", "RARV/b.mp4", "Mega-MMDF/RARV/b.mp4", "RARV/gone.mp4"]),
            "attributes.json": "{}",
        },
        [f"RARV/{NFD}.mp4", "RARV/b.mp4", "more.mp4"],
        {f"RARV/{NFD}.mp4", "RARV/b.mp4"},
        {"RARV/gone.mp4", "more.mp4"},
        1,
    ),
    "avlips": ({}, ["0_real/0.mp4", "1_fake/0.mp4"], {"0_real/0.mp4", "1_fake/0.mp4"}, set(), 0),
    "avid": ({}, ["authentic/s1/a.mp4", "fakes/x/b.mp4"], {"authentic/s1/a.mp4", "fakes/x/b.mp4"}, set(), 0),
    "polyglotfake": (
        {},
        ["real/es/es_1.mp4", "fake/to_ru/es_1_to_ru_Xtts.mp4", "real/es/odd.mp4"],
        {"real/es/es_1.mp4", "fake/to_ru/es_1_to_ru_Xtts.mp4"},
        {"real/es/odd.mp4"},
        0,
    ),
    "idforge": (
        {"val.csv": f"face_tts\\id1\\{NFC}.mp4\npristine/id1/a.mp4\npristine/id1/a.mp4\npristine/id1/gone.mp4\n"},
        [f"face_tts/id1/{NFD}.mp4", "pristine/id1/a.mp4", "odd/b.mp4"],
        {f"face_tts/id1/{NFD}.mp4", "pristine/id1/a.mp4"},
        {"pristine/id1/gone.mp4", "odd/b.mp4"},
        1,
    ),
    "digifakeav": (
        {},
        ["real_videos/a.mp4", "FVRA_sonic_1_2/a.mp4", "odd/b.mp4"],
        {"real_videos/a.mp4", "FVRA_sonic_1_2/a.mp4"},
        {"odd/b.mp4"},
        0,
    ),
    "talkingheadbench": (
        {},
        ["true/a.mp4", "fake/Hallo/test/b--a--Hallo.mp4", "odd/b.mp4"],
        {"true/a.mp4", "fake/Hallo/test/b--a--Hallo.mp4"},
        {"odd/b.mp4"},
        0,
    ),
}


@pytest.fixture(params=sorted(LAYOUTS))
def tree(request, tmp_path) -> tuple[Path, str]:
    """A root with mismatches, repeated rows, a followed link, a loop, and files that are no clips; and its layout."""
    tables, files, *_ = TREES[request.param]
    root = tmp_path / "root"
    for name, text in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else b"\xef\xbb\xbf" + text.encode())
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    first = root / files[0]
    store = tmp_path / "store"
    first.parent.rename(store)
    first.parent.symlink_to(store)
    (store / "loop").symlink_to(root)
    (root / "notes.txt").touch()
    (root / f".{first.name}").touch()
    return root, request.param


def extras(layout: str) -> set[str]:
    first = Path(TREES[layout][1][0])
    return {f"{first.parent.as_posix()}/loop", "notes.txt", f".{first.name}"}


def test_every_file_and_row_is_accounted_for(tree):
    root, layout = tree
    _, files, clips, mismatches, repeated = TREES[layout]
    assert find_layout(root) == layout
    entries, others = read_root(root, audio=layout == "speech")
    assert {entry.clip.source for entry in entries if not entry.problem} == clips
    assert {entry.clip.source for entry in entries if entry.problem} == mismatches
    assert all(entry.clip.path.is_file() for entry in entries if not entry.problem)
    reasons = Counter(reason for _, reason in others)
    assert reasons.pop(REPEATED, 0) == repeated
    assert {source for source, reason in others if reason != REPEATED} == extras(layout)
    assert sorted(clips | (mismatches & {*files}) | {*extras(layout)}) == sorted({*files} | extras(layout))


def test_audio_files_and_other_tiers_are_listed(tmp_path):
    for name in ("real/a.mp4", "real/a.wav", "fake/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips, others = scan_all(tmp_path, ["RVRA"])
    assert [clip.source for clip in clips] == ["real/a.mp4"]
    assert [(line.source, line.reason, line.mismatch) for line in others] == [
        ("fake/b.mp4", "of the tier FAKE, which `tiers` does not name", False),
        ("real/a.wav", "an audio file, where videos are read", False),
    ]


def test_elements_quarantine_and_left_out_add_up(tree, tmp_path, monkeypatch):
    root, layout = tree
    _, _, clips, mismatches, repeated = TREES[layout]
    monkeypatch.setattr(preprocess, "run_killable", partial(run_in_process, started=lambda function, item: None))
    keep = ["waveform", "mel"] if layout == "speech" else ["waveform", "mel", "frames"]
    values = {"kind": "preprocess", "input": str(root), "output": str(tmp_path / "store-of-it"), "workers": 1}
    values |= {"media": {"keep": keep, "face": None}, "tiers": list(TIERS)}
    (tmp_path / "cfg.json").write_text(json.dumps(values))
    assert preprocess.main(["--config", str(tmp_path / "cfg.json")]) == 1, "no file can be decoded here"
    quarantined, left_out = (
        [row["source"] for row in csv.DictReader((tmp_path / "store-of-it" / name).open(newline="", encoding="utf-8"))]
        for name in ("quarantine.csv", "left_out.csv")
    )
    assert sorted(quarantined) == sorted(clips)
    assert {*left_out} - {*quarantined} == mismatches | extras(layout)
    assert len(left_out) == len(mismatches | extras(layout)) + repeated


@pytest.mark.parametrize("tree", sorted(LAYOUTS.keys() - {"speech"}), indirect=True)
def test_rows_of_a_manifest_and_its_list_add_up(tree, tmp_path, monkeypatch):
    root, layout = tree
    _, _, clips, mismatches, repeated = TREES[layout]
    monkeypatch.setattr(make_manifest, "run_killable", run_in_process)
    out = tmp_path / "m.parquet"
    make_manifest.main(["--root", str(root), "--out", str(out)])
    assert {row.source for row in read_manifest(out)} == clips | mismatches
    rows = (tmp_path / "m.parquet.left_out.csv").read_text().splitlines()
    assert len(rows) == 1 + len(extras(layout)) + repeated


@pytest.mark.parametrize("tree", ["speech"], indirect=True)
def test_a_manifest_is_of_videos(tree, tmp_path):
    root, _ = tree
    line = "no video files in the layout speech, but 2 of audio alone: give a root with videos; .* if media.keep has no"
    with pytest.raises(UserError, match=line):
        make_manifest.main(["--root", str(root), "--out", str(tmp_path / "m.parquet")])
    assert not [*tmp_path.glob("m.parquet*")]


def test_lists_and_manifests_leave_no_file_unnamed(tree, tmp_path):
    root, layout = tree
    first, *_ = sorted(TREES[layout][2])
    everything = {source for source, _ in walk(root)}
    listed, manifest = tmp_path / "list.csv", tmp_path / "m.parquet"
    listed.write_text(f"video_name,target\n{first},0\n{first},0\ngone.mp4,0\n")
    entries = [make_entry(root, name, TIERS["RVRA"]) for name in (first, "gone.mp4")]
    write_manifest(manifest, [make_row(entry, FileFacts(sha256="ab")) for entry in entries])
    for clips, others in (scan_lists([listed], root, [*TIERS])[:2], scan_manifest(manifest, root, [*TIERS])):
        assert {clip.source for clip in clips} == {first, "gone.mp4"}
        others = [line for line in others if line.reason != REPEATED]
        assert sorted([first, *(line.source for line in others)]) == sorted(everything)
        assert not any(line.mismatch for line in others), "a list is a choice"
    found, others = make_manifest.read_lists([listed], root)
    assert {entry.clip.source for entry in found} == {first, "gone.mp4"}
    assert sorted([first, *(source for source, reason in others if reason != REPEATED)]) == sorted(everything)


def test_an_output_in_the_root_is_not_listed(tmp_path):
    for name in ("a.mp4", "b.mp4", "out/store.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("a.mp4,0\n")
    _, others, _ = scan_lists([tmp_path / "list.csv"], tmp_path, [*TIERS], tmp_path / "out")
    assert [line.source for line in others] == ["b.mp4"]


def test_the_whole_file_system_is_not_searched(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    (tmp_path / "list.csv").write_text(f"{tmp_path}/a.mp4,0\n")
    clips, others, _ = scan_lists([tmp_path / "list.csv"], Path("/"), [*TIERS])
    assert ([clip.path for clip in clips], others) == ([tmp_path / "a.mp4"], [])


def test_names_in_a_list_are_found_as_those_in_tables(tmp_path):
    """Also as splits of a store, which has the names of the files."""
    (tmp_path / "sub").mkdir()
    (tmp_path / f"sub/{NFD}.mp4").touch()
    (tmp_path / "list.csv").write_text(f"sub\\{NFC}.mp4,0\n")
    clips, others, _ = scan_lists([tmp_path / "list.csv"], tmp_path, [*TIERS])
    assert ([clip.source for clip in clips], others) == ([f"sub/{NFD}.mp4"], [])
    chosen = as_splits([read_videos([tmp_path / "list.csv"], tmp_path)], clips)
    assert [row.source for row in chosen.rows] == [f"sub/{NFD}.mp4"]


def test_a_root_is_searched_once(tree, monkeypatch):
    root, layout = tree
    searched = []
    monkeypatch.setattr("avdfd.core.clips.walk", lambda root, **how: searched.append(root) or walk(root, **how))
    read_root(root, audio=layout == "speech")
    assert searched == [root]


TABLES_OF = {
    "av-deepfake1m": ("train_metadata.json", lambda names: json.dumps([av_row(name) for name in names])),
    "lav-df": ("metadata.json", lambda names: json.dumps([lav_row(name) for name in names])),
    "dfdc": ("metadata.json", lambda names: json.dumps({name: {"label": "REAL"} for name in names})),
    "kodf": ("원본영상_메타데이터.csv", lambda names: "영상ID,UUID\n" + "".join(f"{name},p\n" for name in names)),
    "plain": ("manifest.csv", lambda names: "file,identity,fake_method\n" + "".join(f"{name},,\n" for name in names)),
    "speech": ("manifest.csv", lambda names: SPEECH + "".join(f"{name},real,,s,,page,\n" for name in names)),
    "fakeavceleb": ("meta_data.csv", lambda names: FAKEAVCELEB + "".join(map(fakeavceleb_row, names))),
}


@pytest.mark.parametrize("layout", sorted(TABLES_OF))
def test_rows_that_lead_out_of_the_root_are_not_read(layout, tmp_path):
    """Files that a table names are read only if searching the root has found them."""
    table, text = TABLES_OF[layout]
    inside = f"{ID}/a.mp4" if layout == "fakeavceleb" else "real/a.mp4"
    (tmp_path / "root" / inside).parent.mkdir(parents=True)
    (tmp_path / "root" / inside).touch()
    (tmp_path / "out.mp4").touch()
    outside = ["../out.mp4", f"{tmp_path}/out.mp4", "..\\out.mp4", "real/../../out.mp4"]
    names = [Path(inside).name if layout in ("kodf", "fakeavceleb") else inside, *outside]
    (tmp_path / "root" / table).write_text(text(names))
    entries, _ = read_root(tmp_path / "root", layout)
    assert [entry.clip.source for entry in entries if not entry.problem] == [inside]
    assert any("out.mp4" in entry.clip.source for entry in entries if entry.problem)


@pytest.mark.parametrize("source", ["../out.mp4", "/out.mp4", "real/../../out.mp4", "", ".", "a\0.mp4"])
def test_manifests_with_rows_that_lead_out_are_refused(source, tmp_path):
    entry = make_entry(tmp_path, source, TIERS["RVRA"])
    write_manifest(tmp_path / "m.parquet", [make_row(entry, FileFacts(sha256="ab"))])
    for read in (read_manifest, lambda path: scan_manifest(path, tmp_path, ["RVRA"])):
        with pytest.raises(UserError, match="leads out of the root"):
            read(tmp_path / "m.parquet")


def test_manifest_with_another_type_of_column_is_refused(tmp_path):
    entry = make_entry(tmp_path, "a.mp4", TIERS["RVRA"])
    write_manifest(tmp_path / "m.parquet", [make_row(entry, FileFacts(sha256="ab"))])
    table = pq.read_table(tmp_path / "m.parquet")
    for column in ("path", "tier", "identities"):
        place = table.schema.get_field_index(column)
        for values in (pa.array([7]), pa.array([None], table.schema.field(column).type)):
            changed = table.set_column(place, column, values).replace_schema_metadata(table.schema.metadata)
            if column == "identities" and values.null_count:
                continue
            pq.write_table(changed, tmp_path / "n.parquet")
            with pytest.raises(UserError, match=f"column '{column}' is not that of a manifest"):
                read_manifest(tmp_path / "n.parquet")


def test_shards_have_no_absolute_names(tmp_path):
    with ElementWriter(tmp_path / "store", {}) as writer, pytest.raises(ValueError, match="is a path below its root"):
        writer.add({"source": "/etc/a.mp4"}, [])


def test_special_files_are_listed_and_never_opened(tmp_path, monkeypatch):
    """`preprocess.py` and `make_manifest.py` waited for a FIFO without end."""
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.mp4").touch()
    os.mkfifo(root / "real" / "fifo.mp4")
    (root / "real" / "zero.mp4").symlink_to("/dev/zero")
    monkeypatch.setattr(preprocess, "run_killable", partial(run_in_process, started=lambda function, item: None))
    values = {"kind": "preprocess", "input": str(root), "output": str(tmp_path / "store"), "workers": 1}
    (tmp_path / "cfg.json").write_text(json.dumps(values))
    assert preprocess.main(["--config", str(tmp_path / "cfg.json")]) == 1
    special = {"real/fifo.mp4": "a FIFO, not a file", "real/zero.mp4": "a device, not a file"}
    rows = list(csv.DictReader((tmp_path / "store" / "left_out.csv").open(newline="", encoding="utf-8")))
    assert {row["source"]: row["reason"] for row in rows} == special

    monkeypatch.setattr(make_manifest, "run_killable", run_in_process)
    make_manifest.main(["--root", str(root), "--out", str(tmp_path / "m.parquet")])
    assert [row.source for row in read_manifest(tmp_path / "m.parquet")] == ["real/a.mp4"]
    assert sources(tmp_path / "m.parquet.left_out.csv") == sorted(special)

    (tmp_path / "list.csv").write_text("real/fifo.mp4,0\nreal/a.mp4,0\n")
    run = ["--config", str(tmp_path / "cfg.json"), f"--csv={tmp_path / 'list.csv'}", f"--output={tmp_path / 'other'}"]
    assert preprocess.main(run) == 1
    rows = list(csv.DictReader((tmp_path / "other" / "quarantine.csv").open(newline="", encoding="utf-8")))
    assert {row["source"]: row["reason"] for row in rows} == {
        "real/fifo.mp4": "a FIFO, not a file",
        "real/a.mp4": "empty file",
    }


def sources(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["source"] for row in csv.DictReader(file)]


def test_what_codec_parity_takes_and_what_it_lists_add_up(tree, tmp_path, monkeypatch):
    root, layout = tree
    _, _, clips, mismatches, repeated = TREES[layout]
    monkeypatch.setattr(codec_parity, "run_killable", run_in_process)
    values = {"kind": "parity", "input": str(root), "output": str(tmp_path / "out"), "sound": layout == "speech"}
    (tmp_path / "cfg.json").write_text(json.dumps({**values, "workers": 1, "tiers": list(TIERS)}))
    assert codec_parity.main(["--config", str(tmp_path / "cfg.json")]) == 1, "no file can be decoded here"
    problems, left_out = sources(tmp_path / "out" / "problems.csv"), sources(tmp_path / "out" / "left_out.csv")
    assert clips <= {*problems}
    assert {*problems, *left_out} == clips | mismatches | extras(layout)
    assert len(problems) + len(left_out) == len(clips | mismatches | extras(layout)) + repeated


@pytest.mark.parametrize("tree", ["plain"], indirect=True)
def test_probes_and_resynthesis_list_what_they_leave_out(tree, tmp_path, monkeypatch, capsys):
    root, layout = tree
    _, _, clips, mismatches, repeated = TREES[layout]
    monkeypatch.setattr(probe_shortcuts, "run_killable", run_in_process)
    with pytest.raises(UserError, match="probes need readable real clips and fakes"):
        probe_shortcuts.main(["--root", str(root)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert {line.split(": ")[1] for line in lines} == clips | mismatches | extras(layout)
    assert len(lines) == len(clips | mismatches | extras(layout)) + repeated

    monkeypatch.setattr(resynthesise, "run_killable", run_in_process)
    values = {"kind": "resynthesis", "input": str(root), "output": str(tmp_path / "out"), "workers": 1}
    (tmp_path / "cfg.json").write_text(json.dumps(values))
    resynthesise.main(["--config", str(tmp_path / "cfg.json")])
    left_out = sources(tmp_path / "out" / "left_out.csv")
    assert {*left_out} - clips == mismatches | extras(layout)
    assert len(left_out) == len(mismatches | extras(layout)) + repeated


@pytest.mark.parametrize("tree", ["fakeavceleb"], indirect=True)
def test_the_check_of_fakeavceleb_lists_all(tree):
    root, layout = tree
    _, _, clips, mismatches, repeated = TREES[layout]
    found = compare(root, released=False)
    assert ({*found.paths}, {*found.missing}, {*found.others}) == (clips, mismatches, extras(layout))
    assert (len(found.twice), len(found.extra)) == (repeated, 1)


def test_rows_that_contradict_each_other_are_a_problem(tmp_path):
    """The first of them counted. A clip that two splits name is in none."""
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    rows = [lav_row("a.mp4"), lav_row("b.mp4") | {"split": "train"}, lav_row("b.mp4") | {"split": "test"}]
    rows += [lav_row("a.mp4") | {"modify_audio": True}, lav_row("a.mp4")]
    (tmp_path / "metadata.json").write_text(json.dumps(rows))
    entries, others = read_root(tmp_path)
    assert [(entry.problem, entry.split) for entry in entries] == [
        ("its rows contradict each other: RVRA, RVFA", "unknown"),
        ("", "unknown"),
    ]
    assert others == [("a.mp4", REPEATED), ("a.mp4", REPEATED), ("b.mp4", REPEATED)]


@pytest.mark.parametrize("layout", ["lav-df", "kodf", "plain"])
def test_a_manifest_with_rows_that_lead_out_can_be_read_again(layout, tmp_path, monkeypatch):
    table, text = TABLES_OF[layout]
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.mp4").touch()
    inside = "a.mp4" if layout == "kodf" else "real/a.mp4"
    (root / table).write_text(text([inside, "../out.mp4", "/out.mp4"]))
    monkeypatch.setattr(make_manifest, "run_killable", run_in_process)
    out = tmp_path / "m.parquet"
    make_manifest.main(["--root", str(root), "--layout", layout, "--out", str(out)])
    assert [row.source for row in read_manifest(out)] == ["real/a.mp4"]
    assert sorted(sources(tmp_path / "m.parquet.left_out.csv")) == ["../out.mp4", "/out.mp4"]


NAMELESS = {
    "deepspeak": (
        "annotations-real.csv",
        "video-file,identity\n,1\n",
        "line 2: video-file '' is not the name of a file",
    ),
    "deepfake-eval-2024": (
        "video-metadata-publish.csv",
        "Filename,Video Ground Truth,Audio Ground Truth,Finetuning Set\n,Real,Real,test\n",
        "line 2: Filename '' is not the name of a file",
    ),
    "idforge": ("val.csv", ",face_tts/id1/a.mp4\n", "line 1: names no file in its first cell"),
    "kodf": ("원본영상_training_메타데이터.csv", "영상ID,UUID\n,p\n", "line 2: has no 영상ID"),
}


@pytest.mark.parametrize("layout", sorted(NAMELESS))
def test_rows_without_a_name_end_in_one_line(layout, tmp_path):
    for name, text in TREES[layout][0].items():
        (tmp_path / name).write_text(text)
    table, text, line = NAMELESS[layout]
    (tmp_path / table).write_text(text)
    with pytest.raises(UserError, match=line):
        read_root(tmp_path, layout)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_leftovers_of_archives_are_listed_and_no_tables(layout, tmp_path):
    """macOS adds files of its own, with the names of tables, too; archives are often left beside what was in them."""
    tables, files, clips, mismatches, repeated = TREES[layout]
    for name, content in {**tables, **dict.fromkeys(files, "")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    added = {".DS_Store": b"\0\0\0\1Bud1", "part.zip": b"PK\3\4"}
    added |= {str(Path(name).with_name(f"._{Path(name).name}")): b"\0\5\26\7\xff" for name in tables}
    added |= {
        f"__MACOSX/{Path(name).parent}/._{Path(name).name}".replace("/./", "/"): b"\0\5\26\7\xff" for name in tables
    }
    for name, content in added.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    entries, others = read_root(tmp_path, audio=layout == "speech")
    assert {entry.clip.source for entry in entries if not entry.problem} == clips
    assert {entry.clip.source for entry in entries if entry.problem} == mismatches
    assert sorted(source for source, reason in others if reason != REPEATED) == sorted(added)
    assert sum(reason == REPEATED for _, reason in others) == repeated


@pytest.mark.parametrize("layout", [name for name, tree in TREES.items() if any(n.endswith(".csv") for n in tree[0])])
def test_tables_with_semicolons_and_other_line_ends(layout, tmp_path):
    """As a spreadsheet with a decimal comma writes them."""
    tables, files, clips, mismatches, repeated = TREES[layout]
    for name, content in {**tables, **dict.fromkeys(files, "")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = content.replace(",", ";").replace("\n", "\r\n") if name.endswith(".csv") else content
        (tmp_path / name).write_bytes(content.encode())
    entries, others = read_root(tmp_path, audio=layout == "speech")
    assert {entry.clip.source for entry in entries if not entry.problem} == clips
    assert {entry.clip.source for entry in entries if entry.problem} == mismatches
    assert len(others) == repeated
