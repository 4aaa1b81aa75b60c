"""The authors' fold lists of MRDF: their format, the clips they choose, and what is wrong with a list."""

import pytest

from avdfd.baselines import mrdf_folds
from avdfd.baselines.mrdf_folds import published_fold, read_training_list, read_training_lists
from avdfd.core.errors import UserError
from tests.unit.elements import meta

HEADER = "source,target1,target2,method,category,type,race,gender,path,"


def row(identity, category):
    """Return a line of FakeAVCeleb's table: the folder is in the last, unnamed column."""
    folder = {"A": "RealVideo-RealAudio", "B": "RealVideo-FakeAudio", "C": "FakeVideo-RealAudio"}
    race = "Asian (East)"
    tier = folder.get(category, "FakeVideo-FakeAudio")
    return f"{identity},-,-,m,{category},{tier},{race},men,00000.mp4,FakeAVCeleb/{tier}/{race}/men/{identity}"


@pytest.fixture
def fold(tmp_path):
    """Write a list and a table, and return the fold of a store with clips of all of its rows."""
    identities = [f"id0000{number}" for number in range(1, 5)]
    rows = [row(identity, category) for category in "ABCD" for identity in identities]
    whole = "\n".join([HEADER, *rows, ""])

    def fold(listed="source\nid00001\nid00002\n", table=whole, race="Asian (East)"):
        (tmp_path / "train_2.txt").write_bytes(listed.encode())
        (tmp_path / "meta_data.csv").write_text(table)
        metas = [
            meta(i, tier, source=meta(i, tier).source.replace("Asian", race))
            for i in identities
            for tier in ("RVRA", "RVFA", "FVRA", "FVFA")
        ]
        return published_fold(tmp_path / "train_2.txt", metas)

    return fold


@pytest.mark.parametrize(
    "text",
    [
        "source\nid00001\nid00002\n",
        "\ufeffsource\r\nid00001\r\nid00002\r\n\r\n",
        'source,race\n"id00001",African\nid00002,Asian\n',
        "source\tclip\nid00001/00109.mp4\nid00002\t3\nid00001\n",
    ],
)
def test_forms_of_a_list(tmp_path, text):
    (tmp_path / "train_1.txt").write_bytes(text.encode())
    assert read_training_list(tmp_path / "train_1.txt") == (("id00001", "id00002"), None)


def test_the_first_line_is_never_an_identity(tmp_path):
    """As in the released code, which reads and drops it."""
    (tmp_path / "train_1.txt").write_text("id00009\nid00001\n")
    assert read_training_list(tmp_path / "train_1.txt") == (("id00001",), "id00009")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "names no identity"),
        (b"source\n", "names no identity"),
        (
            b"source\nid00001\nRealVideo-RealAudio/x.mp4\n",
            r"train_1\.txt: line 3 'RealVideo-RealAudio/x\.mp4' does not",
        ),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_wrong_lists(tmp_path, data, why):
    (tmp_path / "train_1.txt").write_bytes(data)
    with pytest.raises(UserError, match=why):
        read_training_lists(tmp_path)


def test_missing_lists(tmp_path):
    with pytest.raises(UserError, match=r"has no train_1\.txt to train_5\.txt"):
        read_training_lists(tmp_path)
    with pytest.raises(UserError, match=r"train_7\.txt: no such list"):
        read_training_list(tmp_path / "train_7.txt")


@pytest.mark.parametrize("race", ["Asian (East)", "Asian-East"])
def test_sources_that_are_not_listed_are_tested(fold, race):
    """The folders of a race may have its brackets, as released, or not, as after the authors' preprocessing."""
    clips = fold(race=race).clips.rows
    assert {r.identity: r.split for r in clips} == {
        "id00001": "train", "id00002": "train", "id00003": "test", "id00004": "test",
    }  # fmt: skip
    assert len(clips) == 16
    assert f"RealVideo-RealAudio/{race}/men/id00003/00000.mp4" in {r.source for r in clips}


def test_first_clips_of_each_category_in_the_order_of_the_table(fold, monkeypatch):
    monkeypatch.setattr(mrdf_folds, "TESTED", 1)
    lines = [
        row(identity, category) for category in "ABCD" for identity in ("id00004", "id00003", "id00002", "id00001")
    ]
    rows = fold(table="\n".join([HEADER, *lines])).clips.rows
    assert [r.identity for r in rows if r.split == "test"] == ["id00004"] * 4
    assert len([r for r in rows if r.split == "train"]) == 8


@pytest.mark.parametrize("columns", ["vid,path", "path,vid"])
def test_the_authors_own_table(fold, columns):
    """It names file and folder in two columns; which is which, their code and its descendants do not agree on."""
    lines = [f"source,category,type,{columns}"]
    for identity in ("id00001", "id00002", "id00003"):
        lines.append(f"{identity},A,RealVideo-RealAudio,00000.mp4,RealVideo-RealAudio/Asian (East)/men/{identity}")
    assert [r[:2] for r in fold(table="\n".join(lines)).clips.rows] == [
        ("train", "id00001"), ("train", "id00002"), ("test", "id00003"),
    ]  # fmt: skip


def test_lists_that_do_not_belong_to_the_store(fold, tmp_path):
    lines = [HEADER, row("id00001", "A"), row("id00003", "A"), row("id00005", "A"), row("id00006", "C")]
    with pytest.raises(
        UserError, match=r"train_2\.txt: 2 of its 3 test clips have no elements, e\.g\. 'Real.*id00005/"
    ):
        fold("source\nid00001\n", "\n".join(lines))
    with pytest.raises(UserError, match="1 of its 2 identities are no source in .*, e.g. 'id00077'"):
        fold("source\nid00001\nid00077\n")
    with pytest.raises(UserError, match="no clip is left for the test"):
        fold("source\nid00001\nid00002\nid00003\nid00004\n")
    (tmp_path / "meta_data.csv").unlink()
    with pytest.raises(UserError, match=r"put FakeAVCeleb's meta_data\.csv beside train_2\.txt"):
        published_fold(tmp_path / "train_2.txt", [])
