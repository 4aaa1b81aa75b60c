"""Stores are read as they were written; other folders and damaged stores are refused."""

import io
import json
import multiprocessing as mp
import os
import pickle
import tarfile

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementWriter, unpack
from avdfd.features.window import FRAMES
from tests.helpers.elements import JOURNAL, SETTINGS, WINDOWS, clip, fill, members, whole_clip


def test_other_elements_than_wanted(tmp_path):
    with ElementWriter(tmp_path / "whole", SETTINGS | {"media.whole": True, "media.max_seconds": 4.0}) as writer:
        writer.add(clip("a.mp4"), [whole_clip(30, 0)])
    with pytest.raises(UserError, match=r"has whole clips, but windows of 3\.072 s are needed; make a store"):
        ElementStore(tmp_path / "whole")
    fill(tmp_path / "windows", ["a.mp4"])
    with pytest.raises(UserError, match=r"has windows of 3\.072 s, but whole clips are needed; .* model\.clips"):
        ElementStore(tmp_path / "windows", whole=True)
    assert [ElementStore(tmp_path / name, whole=None).whole for name in ("whole", "windows")] == [True, False]


def test_store_returns_written_elements(tmp_path):
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        writer.add(clip("real/b.mp4"), [WINDOWS[0], WINDOWS[1]])
        writer.add(clip("fake/a.mp4", "RVFA"), [WINDOWS[2]])
    store = ElementStore(tmp_path / "store")
    assert len(store) == 3
    assert [m.key for m in store.metas] == ["fake/a_mp4/002000", "real/b_mp4/000000", "real/b_mp4/001000"]
    assert store.metas.find("real/b_mp4/001000") == 2
    fake = store.metas[0]
    assert (fake.tier, fake.label, fake.label_video, fake.label_audio) == ("RVFA", 1, 0, 1)
    assert (fake.identities, fake.source, fake.start, fake.end) == (("id1",), "fake/a.mp4", 2.0, 5.072)
    for key, seed in (("fake/a_mp4/002000", 2), ("real/b_mp4/000000", 0), ("real/b_mp4/001000", 1)):
        whole = unpack(WINDOWS[seed]["parts"])
        element = store.read(key, waveform=True, frames=range(FRAMES))
        assert np.array_equal(element.waveform, whole.waveform)
        assert np.array_equal(element.mel, whole.mel)
        assert np.array_equal(element.frames, whole.frames)
        some = store.read(key, mel=False, frames=[76, 3, 3])
        assert some.mel is None
        assert some.waveform is None
        assert np.array_equal(some.frames, whole.frames[[76, 3, 3]])
        assert store.read(key).frames is None
    with pytest.raises(KeyError):
        store.read("nothing")


def test_shards_are_webdataset_archives(tmp_path):
    root = tmp_path / "store"
    fill(root, ["real/a.mp4", "real/b.mp4"], shard_clips=3)
    assert len(list(root.glob("shard-*.tar"))) == 2
    assert members(root)[:4] == [f"real/a_mp4/000000.{s}" for s in ("json", "wav", "mel.npy", "mjpeg")]
    with tarfile.open(root / "shard-000-00001.tar") as archive:
        parts = {m.name.split(".", 1)[1]: archive.extractfile(m).read() for m in archive}
    assert unpack(parts).meta == ElementStore(root).metas[3]
    assert np.load(io.BytesIO(parts["mel.npy"])).shape == (128, 768)


def test_long_and_non_ascii_names(tmp_path):
    source = f"real/{'é' * 40}/{'long' * 30}.mp4"
    fill(tmp_path / "store", [source])
    store = ElementStore(tmp_path / "store")
    assert store.metas[0].source == source
    assert store.read(store.metas[1].key, waveform=True).mel.shape == (128, 768)
    assert any(name.startswith(source.replace(".", "_")) for name in members(tmp_path / "store"))


def read_in_child(store: ElementStore, key: str, answer) -> None:
    answer.put(float(store.read(key, frames=[0]).frames.mean()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_store_works_in_child_processes(tmp_path, method):
    fill(tmp_path / "store", ["real/a.mp4"])
    store = ElementStore(tmp_path / "store")
    expected = float(store.read(store.metas[0].key, frames=[0]).frames.mean())  # opens the shard
    context = mp.get_context(method)
    answer = context.Queue()
    child = context.Process(target=read_in_child, args=(store, store.metas[0].key, answer))
    child.start()
    assert answer.get(timeout=60) == expected
    child.join()
    assert pickle.loads(pickle.dumps(store)).read(store.metas[0].key).mel.shape == (128, 768)


def test_other_and_empty_folders_are_refused(tmp_path):
    for root, words in ((tmp_path / "missing", "no such element store"), (tmp_path, "is not an element store")):
        with pytest.raises(UserError, match=words):
            ElementStore(root)
    with ElementWriter(tmp_path / "empty", SETTINGS):
        pass
    with pytest.raises(UserError, match="is empty"):
        ElementStore(tmp_path / "empty")


def test_missing_or_truncated_shard_is_reported(tmp_path):
    fill(tmp_path / "store", ["real/a.mp4"])
    store, shard = ElementStore(tmp_path / "store"), tmp_path / "store" / "shard-000-00000.tar"
    os.truncate(shard, 1000)
    with pytest.raises(UserError, match="shorter than the index says"):
        store.read(store.metas[0].key)
    shard.unlink()
    with pytest.raises(UserError, match="missing"):
        ElementStore(tmp_path / "store").read(store.metas[0].key)


def test_large_index_is_read_in_order(tmp_path):
    root = tmp_path / "store"
    fill(root, ["real/a.mp4"], per_clip=1)
    line = json.loads((root / JOURNAL).read_text())
    del line["crc32"]
    with (root / JOURNAL).open("w") as file:
        for number in reversed(range(20_000)):
            line["clip"]["source"] = f"real/{number:05d}.mp4"
            line["windows"][0]["key"] = f"real/{number:05d}_mp4/000000"
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
    store = ElementStore(root)
    assert len(store) == 20_000
    assert [store.metas.find(f"real/{n:05d}_mp4/000000") for n in (0, 777, 19_999)] == [0, 777, 19_999]
    assert store.metas[777].source == "real/00777.mp4"
    assert np.array_equal(store.read("real/00777_mp4/000000").mel, unpack(WINDOWS[0]["parts"]).mel)
