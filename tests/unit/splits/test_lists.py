"""Reading of split lists, and the check that splits are disjoint in identities, source clips and files."""

import pytest

from avdfd.config import PretrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.splits.files import SplitList, SplitRow, save
from avdfd.splits.lists import (
    PUBLISHED,
    Lists,
    assign,
    check_classes,
    check_unseen,
    read_splits,
    shared_identities,
    without_elements,
)
from tests.unit.elements import meta


@pytest.fixture
def lists(tmp_path):
    def lists(train="a\nb\n", validation="c\n", test="# kept for the end\nd  # a comment\n\n"):
        for name, text in (("train", train), ("validation", validation), ("test", test)):
            (tmp_path / f"{name}.txt").write_text(text)
        return tmp_path

    return lists


SPLIT_OF = {"a": "train", "b": "train", "c": "validation", "d": "test"}


def test_split_folder_is_read(lists):
    assert read_splits(lists()).split_of == SPLIT_OF


def test_byte_order_marks_and_names_that_nothing_has(lists):
    folder = lists()
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert read_splits(folder).split_of == SPLIT_OF
    metas = [meta(name, "RVRA") for name in "ac"]
    sentence = without_elements(metas, read_splits(folder))
    assert sentence == f"{folder}: 2 of 4 identities have no elements: b (train), d (test)"
    assert without_elements([meta(name, "RVRA") for name in "abcd"], read_splits(folder)) == ""


def test_identity_in_two_lists(lists):
    with pytest.raises(UserError, match=r"test\.txt: identity 'b' is also in train\.txt"):
        read_splits(lists(test="b\n"))


def test_empty_and_missing_list(lists):
    folder = lists(validation="# nobody\n")
    with pytest.raises(UserError, match=r"validation\.txt: the list is empty"):
        read_splits(folder)
    (folder / "validation.txt").unlink()
    with pytest.raises(UserError, match=r"validation\.txt: no such split list"):
        read_splits(folder)


def test_elements_are_in_the_split_of_their_identity():
    metas = [meta("a", "RVRA"), meta("c", "RVRA"), meta("x", "RVRA"), meta("d", "RVFA"), meta("b", "RVFA")]
    assert assign(metas, Lists("s", SPLIT_OF)) == {"train": [0, 4], "validation": [1], "test": [3]}


def test_clip_with_identities_of_two_splits():
    metas = [meta("a", "FVRA", identities=("a", "d"))]
    with pytest.raises(UserError, match="has the identities a and d, which are in test and train"):
        assign(metas, Lists("s", SPLIT_OF))


def test_unlisted_identity_in_two_splits():
    metas = [meta("a", "FVRA", identities=("a", "x")), meta("d", "FVRA", identities=("d", "x"))]
    with pytest.raises(UserError, match="identity 'x' is in test and train"):
        assign(metas, Lists("s", SPLIT_OF))


@pytest.mark.parametrize(("field", "what"), [("base", "source clip"), ("sha256", "file with sha256")])
def test_source_clip_or_file_in_two_splits(field, what):
    metas = [meta("a", "RVRA", **{field: "same"}), meta("d", "RVRA", **{field: "same"})]
    with pytest.raises(UserError, match=f"{what} 'same' is in test and train"):
        assign(metas, Lists("s", SPLIT_OF))


@pytest.mark.parametrize(("tiers", "has"), [(["RVRA"], "only real"), (["RVFA", "FVRA"], "only fake"), ([], "no")])
def test_split_with_one_class_or_none(tiers, has):
    with pytest.raises(UserError, match=f"split 'test' has {has} elements"):
        check_classes([meta("d", t) for t in tiers], "test", "s")


@pytest.mark.parametrize(
    ("split", "identity", "refused"),
    [
        ("test", "a", "train"),
        ("test", "c", "validation"),  # the run was selected on it
        ("test", "d", None),
        ("test", "unlisted", None),
        ("all", "a", "train"),
        ("all", "c", "validation"),
        ("validation", "a", "train"),
        ("validation", "c", None),
        ("train", "a", None),
    ],
)
def test_identities_of_training_or_selection_are_not_scored(split, identity, refused, lists):
    data = {"splits": str(lists()), "fake_tiers": ["RVFA"]}
    config = parse({"name": "run", "data": data}, PretrainConfig, "test")
    metas = [meta("x", "RVRA"), meta(identity, "RVFA")]
    if refused is None:
        check_unseen(config, metas, split)
        return
    with pytest.raises(
        UserError, match=f"'run': identity '{identity}' of the {split} elements is in its {refused} list"
    ):
        check_unseen(config, metas, split)


def test_a_published_fold_goes_by_main_identities(tmp_path):
    """The clip of c shows a, which the checkpoint was trained on: tested as published, and counted."""
    metas = [meta("a", "RVRA"), meta("c", "RVRA"), meta("c", "FVRA", identities=("c", "a")), meta("d", "RVRA")]
    rows = [SplitRow("train", "a", metas[0].source), *(SplitRow("test", m.identities[0], m.source) for m in metas[1:3])]
    save(tmp_path, PUBLISHED, 0, {"fold": SplitList(rows)}, metas, trained_on=["a", "e"])
    lists = read_splits(tmp_path / "fold.csv")
    assert assign(metas, lists) == {"train": [0], "validation": [], "test": [1, 2]}
    assert shared_identities(metas[1:3], lists) == (1, 2)
    config = parse(
        {"name": "x", "data": {"elements": "e", "splits": str(tmp_path / "fold.csv"), "fake_tiers": ["RVFA"]}},
        PretrainConfig,
        "test",
    )
    check_unseen(config, metas[1:3], "test")
    with pytest.raises(UserError, match="identity 'e' of the test elements is in its train list"):
        check_unseen(config, [meta("e", "RVRA")], "test")
    (tmp_path / "split.json").unlink()
    with pytest.raises(UserError, match="has no identities for validation"):
        read_splits(tmp_path / "fold.csv")
