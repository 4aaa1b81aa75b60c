"""The facts about a clip: labels, and their defaults in files that lack one."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avdfd.core.clips import CLIP_DEFAULTS, CLIP_FIELDS, UNKNOWN, ClipMeta, make_entry
from avdfd.core.errors import UserError
from avdfd.core.tiers import RVRA, tier
from avdfd.corpora.inventory import FileFacts
from avdfd.corpora.manifest import make_row, read_clips, read_manifest, write_manifest
from avdfd.elements import ElementStore, ElementTable, ElementWriter
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX, note_files
from tests.helpers.elements import SETTINGS, WINDOWS, clip
from tests.unit.elements import meta


def write_files(root: Path) -> Path:
    """Write a manifest and an element store."""
    root.mkdir()
    write_manifest(root / "m.parquet", [make_row(make_entry(root, "a.mp4", RVRA), FileFacts(sha256="ab"))])
    with ElementWriter(root / "store", SETTINGS) as writer:
        writer.add(clip("real/b.mp4"), [WINDOWS[0]])
    assert merge(root / "store")
    return root


def test_labels_are_those_of_the_tier():
    labels = {name: meta("id1", name) for name in ("RVRA", "RVFA", "FVRA", "FAKE")}
    assert [one.label for one in labels.values()] == [0, 1, 1, 1]
    assert [one.label_video for one in labels.values()] == [0, 0, 1, None]
    assert [one.label_audio for one in labels.values()] == [0, 1, 0, None]


def test_audio_file_has_no_video_label():
    clip = ClipMeta(source="a.wav", tier="RVFA", identities=("id1",), base="a.wav")
    assert (clip.label, clip.label_video, clip.label_audio) == (1, None, 1), "by its suffix, as it was not read"
    labels = {
        (source, has_video): replace(clip, source=source, has_video=has_video).label_video
        for source in ("a.wav", "a.mp4")
        for has_video in ("yes", "no")
    }
    assert labels == {("a.wav", "yes"): 0, ("a.wav", "no"): None, ("a.mp4", "yes"): 0, ("a.mp4", "no"): None}


def test_clip_of_unknown_tier_has_no_label(tmp_path):
    with pytest.raises(UserError, match="unknown tier 'unknown'"):
        _ = make_entry(tmp_path, "a.mp4", None).clip.label


def test_entry_without_base_is_an_original(tmp_path):
    clip = make_entry(tmp_path, "b/a.mp4", tier("RVFA"), page="example.org").clip
    assert (clip.path, clip.base, clip.page, clip.method) == (
        tmp_path / "b" / "a.mp4",
        "b/a.mp4",
        "example.org",
        UNKNOWN,
    )


def test_files_that_lack_a_fact_get_its_default(tmp_path):
    """Files written before clips had a page still load."""
    former = write_files(tmp_path / "former")
    path = former / "m.parquet"
    pq.write_table(pq.read_table(path).drop_columns("page"), path)
    assert [row.page for row in read_manifest(path)] == [clip.page for clip in read_clips(path)[0]] == [UNKNOWN]
    note_files(former / "store", None)
    index = former / "store" / INDEX
    table = pa.ipc.open_file(index).read_all().drop_columns("page")
    with pa.ipc.new_file(index, table.schema) as file:
        file.write_table(table)
    assert [one.page for one in ElementStore(former / "store").metas] == [UNKNOWN]
    table = table.drop_columns("tier")
    with pa.ipc.new_file(tmp_path / "other.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(UserError, match="of another version; delete it"):
        ElementTable.load(tmp_path / "other.arrow")


def test_columns_have_their_former_order():
    assert CLIP_FIELDS[:4] == ("source", "tier", "identities", "base")
    assert CLIP_FIELDS[4:9] == ("method", "race", "gender", "sha256", "page")
    assert CLIP_DEFAULTS.keys() >= {*CLIP_FIELDS[4:]}, "a new fact needs a default for the files that lack it"
