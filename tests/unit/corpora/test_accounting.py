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
from tests.helpers.layout_trees import (
    NFC,
    NFD,
    TREES,
    sources,
    write_files,
)


@pytest.fixture(params=sorted(LAYOUTS))
def tree(request, tmp_path) -> tuple[Path, str]:
    """A root with mismatches, repeated rows, a followed link, a loop, and files that are no clips; and its layout."""
    tables, files, *_ = TREES[request.param]
    root = tmp_path / "root"
    marked = {name: text if isinstance(text, bytes) else "\ufeff" + text for name, text in tables.items()}
    write_files(root, {**marked, **dict.fromkeys(files, "")})
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
