"""make_splits.py: a named protocol becomes files that the loaders take."""

import pytest

from avdfd.datasets.splits import assign, read_splits
from avdfd.elements import ElementStore
from avdfd.errors import UserError
from data.preprocessing import make_splits
from tests.elements import meta
from tests.runs import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


def run(store, *arguments):
    make_splits.main([*map(str, arguments), "--elements", str(store / "elements")])


def test_lists_for_a_store(store, tmp_path, capsys):
    run(store, "avdfd_7_3", "--out", tmp_path / "out")
    assert "28 clips" in capsys.readouterr().out  # 7 people, 4 tiers
    lists = read_splits(tmp_path / "out" / "avdfd_7_3.csv")
    members = assign(ElementStore(store / "elements").metas, lists)
    assert all(members.values())
    again = (tmp_path / "out" / "avdfd_7_3.csv").read_bytes()
    run(store, "avdfd_7_3", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "avdfd_7_3.csv").read_bytes() == again


def test_the_authors_lists(store, tmp_path):
    (tmp_path / "train.txt").write_text("id1\nid3\nid5\n")
    (tmp_path / "held.txt").write_text("id2\nid4\nid6\nid7\n")
    run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "train.txt", "--held", tmp_path / "held.txt")
    split_of = read_splits(tmp_path / "avdfd_70.csv").split_of
    assert {split_of[i] for i in ("id1", "id3", "id5")} == {"train"}
    assert sorted(split_of[i] for i in ("id2", "id4", "id6", "id7")) == ["test", "test", "validation", "validation"]
    (tmp_path / "held.txt").write_text("id1\n")
    with pytest.raises(UserError, match="identity 'id1' is in the other list too"):
        run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "train.txt", "--held", tmp_path / "held.txt")
    with pytest.raises(UserError, match="no such list of identities"):
        run(store, "avdfd_70", "--out", tmp_path, "--train", tmp_path / "none.txt")
    with pytest.raises(UserError, match="mrdf_5fold draws its people"):
        run(store, "mrdf_5fold", "--out", tmp_path, "--train", tmp_path / "train.txt")


def test_a_list_for_each_method_that_there_is():
    clips = [meta(f"id{i}", tier) for i in range(12) for tier in ("RVRA", "RVFA", "FVFA")]
    assert list(make_splits.make("leave_one_method_out", clips, 0, {})) == ["without_RVFA"]
    with pytest.raises(UserError, match="needs FakeAVCeleb's methods"):
        make_splits.make("leave_one_method_out", [c for c in clips if c.tier != "RVFA"], 0, {})


def test_too_few_people_for_folds(store, tmp_path):
    with pytest.raises(UserError, match="5 folds take 15 or more"):
        run(store, "mrdf_5fold", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
