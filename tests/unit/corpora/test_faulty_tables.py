"""Tables of data sets with faults of real ones: rows that lead out, contradict each other or have no name."""

import json
from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import LAYOUTS, REPEATED, read_root
from avdfd.corpora.manifest import read_manifest
from data.preprocessing import make_manifest
from tests.helpers.in_process import run_in_process
from tests.helpers.layout_trees import (
    FAKEAVCELEB,
    ID,
    SPEECH,
    TREES,
    av_row,
    fakeavceleb_row,
    lav_row,
    sources,
    write_files,
)

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
    table, text, line = NAMELESS[layout]
    write_files(tmp_path, {**TREES[layout][0], table: text})
    with pytest.raises(UserError, match=line):
        read_root(tmp_path, layout)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_leftovers_of_archives_are_listed_and_no_tables(layout, tmp_path):
    """macOS adds files of its own, with the names of tables, too; archives are often left beside what was in them."""
    tables, files, clips, mismatches, repeated = TREES[layout]
    write_files(tmp_path, {**tables, **dict.fromkeys(files, "")})
    added = {".DS_Store": b"\0\0\0\1Bud1", "part.zip": b"PK\3\4"}
    added |= {str(Path(name).with_name(f"._{Path(name).name}")): b"\0\5\26\7\xff" for name in tables}
    added |= {
        f"__MACOSX/{Path(name).parent}/._{Path(name).name}".replace("/./", "/"): b"\0\5\26\7\xff" for name in tables
    }
    write_files(tmp_path, added)
    entries, others = read_root(tmp_path, audio=layout == "speech")
    assert {entry.clip.source for entry in entries if not entry.problem} == clips
    assert {entry.clip.source for entry in entries if entry.problem} == mismatches
    assert sorted(source for source, reason in others if reason != REPEATED) == sorted(added)
    assert sum(reason == REPEATED for _, reason in others) == repeated


@pytest.mark.parametrize("layout", [name for name, tree in TREES.items() if any(n.endswith(".csv") for n in tree[0])])
def test_tables_with_semicolons_and_other_line_ends(layout, tmp_path):
    """As a spreadsheet with a decimal comma writes them."""
    tables, files, clips, mismatches, repeated = TREES[layout]
    write_files(tmp_path, dict.fromkeys(files, ""))
    for name, text in tables.items():
        write_files(tmp_path, {name: text.replace(",", ";").replace("\n", "\r\n") if name.endswith(".csv") else text})
    entries, others = read_root(tmp_path, audio=layout == "speech")
    assert {entry.clip.source for entry in entries if not entry.problem} == clips
    assert {entry.clip.source for entry in entries if entry.problem} == mismatches
    assert len(others) == repeated
