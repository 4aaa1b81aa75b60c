"""Small roots in every layout: their tables and files, and what each of them is."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

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


def write_files(root: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write files below a root, texts as UTF-8."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def sources(path: Path) -> list[str]:
    """Return the column of that name in a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row["source"] for row in csv.DictReader(file)]
