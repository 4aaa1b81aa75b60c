"""The facts about a clip: labels, and that one declaration is enough for a new fact."""

import os
import subprocess
import sys
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
from avdfd.elements.layout import INDEX
from tests.paths import ROOT
from tests.unit.elements import meta
from tests.unit.elements.test_store import SETTINGS, WINDOWS, clip

NEW_FACT = """
import sys, types
from importlib.util import find_spec
from pathlib import Path

path = Path(find_spec("avdfd.core.clips").origin)
line = '    page: str = UNKNOWN\\n'
source = path.read_text()
assert source.count(line) == 1
module = types.ModuleType("avdfd.core.clips")
sys.modules["avdfd.core.clips"] = module
exec(compile(source.replace(line, line + '    language: str = UNKNOWN\\n'), path, "exec"), module.__dict__)

import numpy as np
import pyarrow.parquet as pq
from avdfd.corpora.adapters import own_table
from avdfd.corpora.inventory import FileFacts
from avdfd.corpora.manifest import clips_of, make_row, read_clips, read_manifest, write_manifest
from avdfd.corpora.tables import own_lines
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_meta, unpack
from avdfd.elements.index import merge
from avdfd.evaluation import pooling, scored_clips
from avdfd.inference.scoring import Scores
from tests.unit.elements.test_store import SETTINGS, WINDOWS
from data.preprocess import describe

root, former = Path(sys.argv[1]), Path(sys.argv[2])
(root / "a.mp4").touch()
(root / "b.mp4").touch()
(root / "clips.csv").write_text("file,label,language\\na.mp4,real,ko\\nb.mp4,fake,\\n")
entries = [*own_table(root)]  # the adapter of a user's own table fills it
assert [entry.clip.language for entry in entries] == ["ko", "unknown"]
header, *lines = own_lines((entry.clip, entry.split) for entry in entries)
assert [dict(zip(header, line))["language"] for line in lines] == ["ko", "unknown"]

manifest = root / "m.parquet"
write_manifest(manifest, [make_row(entry, FileFacts(sha256="ab")) for entry in entries])
assert "language" in pq.read_schema(manifest).names
clips = clips_of(manifest, root, ["RVRA", "FAKE"])
for read in (read_manifest(manifest), read_clips(manifest)[0], clips):
    assert [one.language for one in read] == ["ko", "unknown"]

with ElementWriter(root / "store", SETTINGS) as writer:
    for number, one in enumerate(clips):
        writer.add({**describe(one), "sha256": str(number)}, [WINDOWS[number]])
for indexed in (False, True):
    assert not indexed or merge(root / "store")
    store = ElementStore(root / "store")
    assert [one.language for one in store.metas] == ["ko", "unknown"]
    assert store.metas.coded("language").values == ["ko", "unknown"]
assert unpack({"json": encode_meta(store.metas[0])}).meta == store.metas[0]

scored = Scores([one.key for one in store.metas], {"audio": np.array([0.1, 0.9])})
table = [*scored_clips.csv_rows(pooling.pool(store.metas, scored))]
assert [dict(zip(table[0], row))["language"] for row in table[1:]] == ["ko", "unknown"]
rows = [dict(zip(table[0], map(str, row))) for row in table[1:]]
assert scored_clips.from_csv(rows, "audio", 1, name="x").facts["language"].tolist() == ["ko", "unknown"]
for row in rows:  # as an evaluation had it before
    del row["language"]
assert scored_clips.from_csv(rows, "audio", 1, name="x").facts["language"].tolist() == ["unknown"] * 2

assert {one.language for one in ElementStore(former / "store").metas} == {"unknown"}
assert [one.language for one in read_manifest(former / "m.parquet")] == ["unknown"]
print("every file has it")
"""


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
    assert (clip.label, clip.label_video, clip.label_audio) == (1, None, 1)


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


def test_new_fact_needs_one_declaration(tmp_path):
    """Add a field to ClipMeta alone, in a new process: manifest, store, index and scores.csv have it."""
    former = write_files(tmp_path / "former")
    (tmp_path / "new").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", NEW_FACT, str(tmp_path / "new"), str(former)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("every file has it\n")


def test_files_that_lack_a_fact_get_its_default(tmp_path):
    """Files written before clips had a page still load."""
    former = write_files(tmp_path / "former")
    path = former / "m.parquet"
    pq.write_table(pq.read_table(path).drop_columns("page"), path)
    assert [row.page for row in read_manifest(path)] == [clip.page for clip in read_clips(path)[0]] == [UNKNOWN]
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
