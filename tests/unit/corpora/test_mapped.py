import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import find_layout, list_entries, read_root

COLUMNS = {"file": "path", "label": "is_fake"}


def mapping(root, table="meta.csv", columns=COLUMNS, **more):
    (root / "columns.json").write_text(json.dumps({"table": table, "columns": columns, **more}))


def entries_of(root):
    assert find_layout(root) == "columns"
    return {entry.clip.source: entry for entry in list_entries(root)}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_csv_with_labels_of_the_modalities(tmp_path):
    touch(tmp_path, "v/a.mp4", "v/b.mp4", "v/c.mp4", "v/more.mp4")
    columns = {"file": "path", "label_video": "v", "label_audio": "a", "identity": ["face", "voice"]}
    columns |= {"base": "from", "method": "engine", "split": "part", "audio_fake_periods": "when"}
    mapping(tmp_path, columns=columns, folder="v", real=["Genuine"], fake=["Made"])
    (tmp_path / "meta.csv").write_text(
        "path,v,a,face,voice,from,engine,part,when,unused\n"
        "a.mp4,genuine,genuine,Anna,Anna,,,train,,x\n"
        'b.mp4,genuine,made,Anna,Bea; Cleo,a.mp4,xtts,test,"[[0.5, 1], [0.75, 2]]",x\n'
        "c.mp4,unknown,genuine,,,,,,,x\n"
    )
    entries = entries_of(tmp_path)
    real, fake = entries["v/a.mp4"].clip, entries["v/b.mp4"].clip
    assert (real.tier, real.method, real.identities, real.base) == ("RVRA", "real", ("Anna",), "v/a.mp4")
    assert (fake.tier, fake.method, fake.identities, fake.base) == ("RVFA", "xtts", ("Anna", "Bea", "Cleo"), "v/a.mp4")
    assert (fake.label_video, fake.label_audio, entries["v/b.mp4"].split) == (0, 1, "test")
    assert (fake.audio_fake_periods, fake.visual_fake_periods) == ("[[0.5, 2.0]]", "")
    assert entries["v/c.mp4"].problem == "its label is not known"
    assert entries["v/c.mp4"].clip.identities == ("v/c.mp4",)
    assert entries["v/more.mp4"].problem == "not listed in meta.csv"
    assert read_root(tmp_path).others == [], "the table and columns.json are no strange files"


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_json_objects_are_rows(tmp_path, suffix):
    """As ArEnAV's and AV-Deepfake1M's kind of metadata: labels of the modalities, and periods as lists."""
    touch(tmp_path, "v/a.mp4", "v/b.mp4")
    rows = [
        {"file": "a.mp4", "v": False, "a": False, "speaker": "yt-1"},
        {"file": "b.mp4", "v": True, "a": False, "speaker": "yt-1", "from": "a.mp4", "when": [[0.5, 1.25]]},
    ]
    text = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)) + "\n\n"
    (tmp_path / f"meta.{suffix}").write_text(text)
    columns = {"file": "file", "label_video": "v", "label_audio": "a", "identity": "speaker", "base": "from"}
    mapping(tmp_path, f"meta.{suffix}", {**columns, "visual_fake_periods": "when"}, folder="v")
    real, fake = (entry.clip for entry in entries_of(tmp_path).values())
    assert (real.tier, fake.tier, fake.identities, fake.base) == ("RVRA", "FVRA", ("yt-1",), "v/a.mp4")
    assert (fake.visual_fake_periods, fake.audio_fake_periods) == ("[[0.5, 1.25]]", "")
    for broken, said in (
        (text[:-9] + "}", "cannot be read as JSON"),
        ('{"a": 1}' if suffix == "json" else "3", "a list"),
    ):
        (tmp_path / f"meta.{suffix}").write_text(broken)
        with pytest.raises(UserError, match=said):
            list_entries(tmp_path)
    mapping(tmp_path, f"meta.{suffix}", {**columns, "method": "engine"})
    (tmp_path / f"meta.{suffix}").write_text(text)
    with pytest.raises(UserError, match=f"meta.{suffix}: has no column 'engine'; its columns are file, v, a, speaker"):
        list_entries(tmp_path)


def test_parquet_with_lists_and_numbers(tmp_path):
    touch(tmp_path, "id00012/a.mp4", "b.mp4")
    columns = {**COLUMNS, "fake_periods": "spans", "identity": "people"}
    mapping(tmp_path, "t/meta.parquet", columns)
    (tmp_path / "t").mkdir()
    table = {"path": ["id00012/a.mp4", "b.mp4"], "is_fake": [1.0, 0.0], "spans": [[[1, 2.5]], None]}
    pq.write_table(pa.table({**table, "people": [None, ["Anna", "Bea"]]}), tmp_path / "t/meta.parquet")
    entries = entries_of(tmp_path)
    fake, real = entries["id00012/a.mp4"].clip, entries["b.mp4"].clip
    assert (fake.tier, fake.fake_periods, fake.identities) == ("FAKE", ((1.0, 2.5),), ("id00012",))
    assert fake.audio_fake_periods == fake.visual_fake_periods == "[[1.0, 2.5]]"
    assert (real.tier, real.fake_periods, real.identities) == ("RVRA", None, ("Anna", "Bea"))


@pytest.mark.parametrize(
    ("changed", "table", "message"),
    [
        (
            {"columns": {"file": "path", "label": "fake"}},
            "path,is_fake\n",
            "meta.csv: has no column 'fake'; its columns are",
        ),
        ({"columns": {"file": "path", "lable": "is_fake"}}, "", "unknown column 'lable'; did you mean 'label'?"),
        ({"columns": {"file": "path"}}, "", "columns: name the one of 'file', and 'tier', 'label'"),
        ({"columns": {"file": 7, "label": "is_fake"}}, "", "columns: 7 is not the name of a column"),
        ({"columns": {**COLUMNS, "identity": {"a": 1}}}, "", "is not the name of a column"),
        ({"columns": ["file"]}, "", "columns.json: has no 'columns'"),
        ({"tables": "x"}, "", "unknown column 'tables'; did you mean 'table'?"),
        ({"table": "../meta.csv"}, "", "table '../meta.csv' is no file below"),
        ({"table": "gone.csv"}, "", "table 'gone.csv' is no file below"),
        ({"folder": "../x"}, "", "folder '../x' is no folder below"),
        ({"real": "yes"}, "", "real: expected a list of the cells that mean real"),
        ({}, "path,is_fake\na.mp4,maybe\n", "meta.csv: line 2: column 'is_fake' has 'maybe'; expected real, 0"),
        ({}, "path,is_fake\n../a.mp4,1\n", "line 2: column 'path': '../a.mp4' is not a path relative to the root"),
        ({"columns": {**COLUMNS, "tier": "t"}}, "path,is_fake,t\na.mp4,1,RVRA\n", "contradict tier RVRA in column 't'"),
        ({"columns": {**COLUMNS, "tier": "t"}}, "path,is_fake,t\na.mp4,1,XX\n", "line 2: unknown tier 'XX'"),
        (
            {"columns": {**COLUMNS, "label_video": "v", "label_audio": "a"}},
            "path,is_fake,v,a\na.mp4,1,0,0\n",
            "line 2: the label of the clip contradicts those of its modalities",
        ),
        (
            {"columns": {**COLUMNS, "fake_periods": "when"}},
            "path,is_fake,when\na.mp4,1,0-1\n",
            "line 2: column 'when': '0-1' are no fake periods",
        ),
    ],
)
def test_errors_name_the_column(tmp_path, changed, table, message):
    touch(tmp_path, "a.mp4")
    (tmp_path / "meta.csv").write_text(table)
    (tmp_path / "columns.json").write_text(json.dumps({"table": "meta.csv", "columns": COLUMNS} | changed))
    with pytest.raises(UserError) as error:
        list_entries(tmp_path)
    assert message in str(error.value)


def test_a_damaged_parquet_file_is_named(tmp_path):
    touch(tmp_path, "a.mp4")
    mapping(tmp_path, "meta.parquet")
    (tmp_path / "meta.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"meta.parquet: cannot be read as a table"):
        list_entries(tmp_path)
    pq.write_table(pa.table({"path": [3], "is_fake": [1]}), tmp_path / "meta.parquet")
    with pytest.raises(UserError, match=r"meta.parquet: row 0: column 'path': 3 is not a path"):
        list_entries(tmp_path)


def test_cells_without_content_state_nothing(tmp_path):
    """pandas writes NaN into Parquet, and "nan" into text; then all clips without an identity were one person."""
    touch(tmp_path, "a.mp4", "b.mp4")
    columns = {**COLUMNS, "identity": "who", "method": "how", "fake_periods": "when"}
    cells = {"path": ["a.mp4", "b.mp4"], "is_fake": [0, 1]}
    nothing = {"who": [float("nan")] * 2, "how": [float("nan")] * 2, "when": [float("nan")] * 2}
    pq.write_table(pa.table({**cells, **nothing}), tmp_path / "meta.parquet")
    mapping(tmp_path, table="meta.parquet", columns=columns)
    parquet = entries_of(tmp_path)
    assert [entry.clip.identities for entry in parquet.values()] == [("a.mp4",), ("b.mp4",)]
    assert [(entry.clip.method, entry.clip.audio_fake_periods) for entry in parquet.values()] == [
        ("real", ""), ("unknown", "")
    ]  # fmt: skip
    (tmp_path / "meta.csv").write_text("path,is_fake,who,how,when\na.mp4,0,nan,NaN,\nb.mp4,1,None,unknown,\n")
    mapping(tmp_path, columns=columns)
    assert entries_of(tmp_path) == parquet
