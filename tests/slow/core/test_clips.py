"""One declaration is enough for a new fact about a clip."""

import os
import subprocess
import sys

from tests.paths import ROOT
from tests.unit.core.test_clips import write_files

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
from avdfd.core.clips import Files
from avdfd.corpora.adapters import own_table
from avdfd.corpora.inventory import FileFacts
from avdfd.corpora.manifest import choose, make_row, read_clips, read_manifest, write_manifest
from avdfd.corpora.tables import own_lines
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_meta, unpack
from avdfd.elements.index import merge
from avdfd.evaluation import pooling, scored_clips
from avdfd.inference.scoring import Scores
from tests.helpers.elements import SETTINGS, WINDOWS
from data.preprocess import describe

root, former = Path(sys.argv[1]), Path(sys.argv[2])
(root / "a.mp4").touch()
(root / "b.mp4").touch()
(root / "clips.csv").write_text("file,label,language\\na.mp4,real,ko\\nb.mp4,fake,\\n")
entries = [*own_table(Files(root))]  # the adapter of a user's own table fills it
assert [entry.clip.language for entry in entries] == ["ko", "unknown"]
header, *lines = own_lines((entry.clip, entry.split) for entry in entries)
assert [dict(zip(header, line))["language"] for line in lines] == ["ko", "unknown"]

manifest = root / "m.parquet"
write_manifest(manifest, [make_row(entry, FileFacts(sha256="ab")) for entry in entries])
assert "language" in pq.read_schema(manifest).names
clips = choose(manifest, root, ["RVRA", "FAKE"])[0]
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
