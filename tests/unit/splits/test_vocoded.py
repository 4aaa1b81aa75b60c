"""Vocoded real clips in split lists."""

from avdfd.core.clips import ClipMeta
from avdfd.splits.files import SplitList, SplitRow
from avdfd.splits.vocoded import ALONE, TRAINED, add_vocoded, apart


def clip(source, tier="RVRA", base=""):
    return ClipMeta(source=source, tier=tier, identities=(source[-1],), base=base or source)


VOCODED = [clip(f"v/{name}", "RVRA-V", name) for name in ("a", "b", "c", "gone")]


def lists():
    return SplitList([SplitRow("train", "a", "a"), SplitRow("validation", "b", "b"), SplitRow("test", "c", "c")])


def test_they_are_drawn_apart():
    others, vocoded = apart([*VOCODED, clip("a"), clip("b", "RVFA"), clip("a")])
    assert [one.source for one in others] == ["a", "b"]
    assert [one.source for one in vocoded] == sorted(one.source for one in VOCODED)


def test_training_is_free_of_them():
    made = lists()
    add_vocoded(made, VOCODED)
    assert [(row.split, row.source) for row in made.rows[3:]] == [("validation", "v/b"), ("test", "v/c")]
    assert made.listed == [("v/a", TRAINED), ("v/gone", ALONE)]
    assert made.left_out == {TRAINED: 1, ALONE: 1}


def test_training_has_them_if_asked_for():
    made = lists()
    add_vocoded(made, VOCODED, train=True)
    assert [row.split for row in made.rows[3:]] == ["train", "validation", "test"]
    assert made.listed == [("v/gone", ALONE)]
