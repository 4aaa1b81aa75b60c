"""Merging of the parts of a store into one index."""

from pathlib import Path

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.core.shards import Shard
from avdfd.elements import ElementStore, ElementWriter, unpack
from avdfd.elements.index import merge
from avdfd.elements.layout import INDEX, parts_of
from tests.helpers.elements import SETTINGS, WINDOWS, clip

SOURCES = [f"real/{n}.mp4" for n in range(6)]


def write(root: Path, number: int, of: int = 3) -> None:
    with ElementWriter(root, SETTINGS, 2, Shard(number, of)) as writer:
        for seed, source in enumerate(SOURCES):
            if seed % of == number:
                writer.add(clip(source), [WINDOWS[seed % 4]])


@pytest.mark.parametrize("merged", [True, False])
def test_parts_are_read_as_one_store(tmp_path, merged):
    for number in (2, 0, 1):
        write(tmp_path / "store", number)
    if merged:
        assert merge(tmp_path / "store")
    store = ElementStore(tmp_path / "store")
    assert (tmp_path / "store" / INDEX).exists() == merged
    assert [m.source for m in store.metas] == SOURCES
    assert parts_of(store.root) == [Shard(0, 3), Shard(1, 3), Shard(2, 3)]
    for seed, m in enumerate(store.metas):
        element, whole = store.read(m.key, frames=[3, 70]), unpack(WINDOWS[seed % 4]["parts"])
        assert np.array_equal(element.mel, whole.mel)
        assert np.array_equal(element.frames, whole.frames[[3, 70]])


def test_index_is_removed_while_a_part_is_written(tmp_path):
    write(tmp_path / "store", 0)
    write(tmp_path / "store", 1)
    assert merge(tmp_path / "store")
    assert len(ElementStore(tmp_path / "store")) == 4
    with ElementWriter(tmp_path / "store", SETTINGS, 2, Shard(2, 3)) as writer:
        assert not (tmp_path / "store" / INDEX).exists()
        writer.add(clip("real/2.mp4"), [WINDOWS[2]])
        assert not merge(tmp_path / "store")  # the writer that ends last will
        assert len(ElementStore(tmp_path / "store")) == 5
    assert merge(tmp_path / "store")
    assert len(ElementStore(tmp_path / "store")) == 5


def test_other_number_of_parts_is_refused(tmp_path):
    write(tmp_path / "store", 0)
    with pytest.raises(UserError, match=r"parts was 3 and is now 4\): use --shard i/3"):
        write(tmp_path / "store", 0, of=4)


def test_two_parts_have_writers_at_once_but_one_part_has_not(tmp_path):
    with (
        ElementWriter(tmp_path / "store", SETTINGS, 2, Shard(0, 3)),
        ElementWriter(tmp_path / "store", SETTINGS, 2, Shard(1, 3)),
        pytest.raises(UserError, match="another run is writing to it"),
    ):
        write(tmp_path / "store", 1)


def test_files_of_a_part_are_independent_of_other_parts(tmp_path):
    write(tmp_path / "one", 1)
    for number in (0, 1, 2):
        write(tmp_path / "all", number)
    names = [path.name for path in (tmp_path / "one").iterdir() if "001" in path.name]
    assert len(names) == 3  # a journal, a shard, a lock
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


def test_audio_only_element(tmp_path):
    wav = {name: data for name, data in WINDOWS[0]["parts"].items() if name == "wav"}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        writer.add(clip("real/a.wav"), [{**WINDOWS[0], "parts": wav}])
    store, whole = ElementStore(tmp_path / "store"), unpack(WINDOWS[0]["parts"])
    element = store.read(store.metas[0].key, waveform=True)
    assert np.array_equal(element.waveform, whole.waveform)
    assert np.array_equal(element.mel, whole.mel)  # computed from the waveform
    with pytest.raises(UserError, match=r"have no mjpeg; make a store with another media.keep"):
        store.read(store.metas[0].key, frames=[0])
    with pytest.raises(UserError, match=r"have no mel_err.npy"):
        store.read(store.metas[0].key, mel_err=True)


def test_number_of_open_shards_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("avdfd.elements.shards._OPEN", 2)
    for number in range(3):
        write(tmp_path / "store", number)
    store = ElementStore(tmp_path / "store")
    for _ in range(2):
        for seed, m in enumerate(store.metas):
            assert np.array_equal(store.read(m.key).mel, unpack(WINDOWS[seed % 4]["parts"]).mel)
            assert len(store._shards._open) <= 2
