"""Metadata of elements as columns."""

import pickle

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementTable, ElementWriter, coded, fake_seconds, times, window_labels
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX
from tests.helpers.elements import SETTINGS, WINDOWS, clip
from tests.unit.elements import meta


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ElementStore:
    """Store of three clips, one of them without windows, with an index."""
    root = tmp_path_factory.mktemp("table") / "store"
    with ElementWriter(root, SETTINGS) as writer:
        writer.add(clip("real/b.mp4"), [WINDOWS[0], WINDOWS[1]])
        writer.add({**clip("fake/a.mp4", "FVRA"), "identities": ["id1", 'i"2'], "base": "real/b.mp4"}, [WINDOWS[2]])
        writer.add(clip("real/c.mp4"), [])
    assert merge(root)
    return ElementStore(root)


def test_rows_equal_written_metadata(store):
    fake, real = store.metas[0], store.metas[-1]
    assert (fake.source, fake.tier, fake.label, fake.label_video, fake.label_audio) == ("fake/a.mp4", "FVRA", 1, 1, 0)
    assert (fake.identities, fake.base, fake.start) == (("id1", 'i"2'), "real/b.mp4", 2.0)
    assert (real.key, real.end, real.version) == ("real/b_mp4/001000", 4.072, store.version)
    assert [m.key for m in store.metas] == [store.metas[i].key for i in range(len(store))]


def test_fake_seconds_of_table_and_list_agree(tmp_path):
    whole, none = clip("fake/w.mp4", "FVFA"), clip("real/n.mp4")
    mixed = clip("fake/m.mp4", "FVFA") | {"audio_fake_periods": "[[0, 1.5], [3, 9]]", "visual_fake_periods": "[[6, 7]]"}
    audio = clip("fake/a.mp4", "RVFA") | {"audio_fake_periods": "[[3.5, 4]]", "visual_fake_periods": "[[0, 9]]"}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        for one in (whole, none, mixed, audio):
            writer.add(one, WINDOWS.values())
    metas = ElementStore(tmp_path / "store").metas
    seconds = {meta.key: found for meta, found in zip(metas, fake_seconds(metas).tolist(), strict=True)}
    assert seconds["fake/m_mp4/000000"] == pytest.approx([1.572, 0])
    assert seconds["fake/m_mp4/002000"] == pytest.approx([2.072, 0])
    assert seconds["fake/a_mp4/000000"] == [0, 0]
    assert seconds["fake/a_mp4/001000"] == pytest.approx([0.5, 0])
    assert seconds["real/n_mp4/000000"] == [0, 0]
    assert seconds["fake/w_mp4/000000"] == pytest.approx([3.072, 3.072])
    for some in (metas, metas[3:], metas.take([4, 0, 9]), metas.take([])):
        assert fake_seconds(some) == pytest.approx(fake_seconds([*some]))
        assert times(some).tolist() == times([*some]).tolist() == [[meta.start, meta.end] for meta in some]
        assert window_labels(some).tolist() == [meta.window.label for meta in some]
    assert {meta.source for meta in metas if meta.label and not meta.window.label} == {"fake/a.mp4"}


def test_selection_of_rows_is_a_table(store):
    some = store.metas.take([2, 0])
    assert [m.key for m in some] == [store.metas[2].key, store.metas[0].key]
    assert isinstance(store.metas[1:], ElementTable)
    assert len(store.metas[1:]) == 2
    with pytest.raises(IndexError):
        store.metas[3]


@pytest.mark.parametrize("name", ["source", "tier", "identities", "base", "method", "gender", "sha256", "label"])
def test_codes_of_table_and_list_agree(store, name):
    for metas in (store.metas, list(store.metas), store.metas.take([1])):
        codes, values = coded(metas, name)
        assert [values[code] for code in codes] == [getattr(m, name) for m in metas]


def test_codes_of_a_list():
    codes, values = coded([meta("a", "RVRA"), meta("b", "RVFA"), meta("a", "RVRA", window=1)], "identities")
    assert codes.tolist() == [0, 1, 0]
    assert values == [("a",), ("b",)]


def test_find(store):
    assert [store.metas.find(m.key) for m in store.metas] == [0, 1, 2]
    for key in ("", "real/b_mp4/000500", "zzz"):
        with pytest.raises(KeyError):
            store.metas.find(key)


def test_pickle_stores_the_path_of_the_file(store):
    data = pickle.dumps(store.metas.take([2, 1]))
    assert store.metas[1].sha256.encode() not in data
    assert list(pickle.loads(data)) == [store.metas[2], store.metas[1]]
    (store.root / INDEX).rename(store.root / "aside")
    try:  # a table built from the journals has no file
        built = ElementStore(store.root).metas
        assert list(pickle.loads(pickle.dumps(built))) == list(store.metas)
        assert np.array_equal(built.numbers("sizes"), store.metas.numbers("sizes"))
    finally:
        (store.root / "aside").rename(store.root / INDEX)


def test_damaged_files_are_refused(store, tmp_path):
    data = (store.root / INDEX).read_bytes()
    (tmp_path / "cut.arrow").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="damaged; delete it"):
        ElementTable.load(tmp_path / "cut.arrow")
    (tmp_path / "empty.arrow").write_bytes(b"")
    with pytest.raises(UserError, match="damaged; delete it"):
        ElementTable.load(tmp_path / "empty.arrow")
