"""Writing: appended, interrupted, killed, replaced, on a full disk, and what is refused."""

import errno
import multiprocessing as mp
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.core.journal import AppendedFile
from avdfd.elements import ElementStore, ElementWriter, unpack
from avdfd.elements.layout import STORE
from tests.helpers.elements import JOURNAL, SETTINGS, WINDOWS, clip, fill, members


def test_second_writer_appends(tmp_path):
    fill(tmp_path / "store", ["real/a.mp4", "real/c.mp4"])
    fill(tmp_path / "store", ["real/b.mp4"])
    fill(tmp_path / "whole", ["real/a.mp4", "real/c.mp4", "real/b.mp4"])
    assert members(tmp_path / "store") == members(tmp_path / "whole")
    assert [m.key for m in ElementStore(tmp_path / "store").metas] == [
        m.key for m in ElementStore(tmp_path / "whole").metas
    ]
    for name in ("shard-000-00000.tar", "shard-000-00001.tar", JOURNAL, STORE):
        assert (tmp_path / "store" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def interrupted(root: Path, monkeypatch, writes: int) -> bool:
    """Write two clips, interrupted in the middle of a given write; return False if there were fewer writes."""
    count = 0
    add = AppendedFile.add

    def counted(self, data: bytes, *, sync: bool = False) -> None:
        nonlocal count
        count += 1
        if count == writes:
            add(self, data[: len(data) // 2])  # a partial write
            raise KeyboardInterrupt
        add(self, data)

    monkeypatch.setattr(AppendedFile, "add", counted)
    try:
        fill(root, ["real/a.mp4", "real/b.mp4"])
    except KeyboardInterrupt:
        return True
    finally:
        monkeypatch.setattr(AppendedFile, "add", add)
    return False


def test_interruption_at_any_write_can_be_resumed(tmp_path, monkeypatch):
    fill(tmp_path / "whole", ["real/a.mp4", "real/b.mp4"])
    writes = 1
    while interrupted(root := tmp_path / f"cut{writes}", monkeypatch, writes):
        writes += 1
        with ElementWriter(root, SETTINGS, shard_clips=3) as writer:
            for source in ("real/a.mp4", "real/b.mp4"):
                if source not in writer.records:
                    writer.add(clip(source), [WINDOWS[0], WINDOWS[1]])
        for name in ("shard-000-00000.tar", "shard-000-00001.tar", JOURNAL):
            assert (root / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), writes
    assert writes > 30


def write_forever(root: Path) -> None:
    with ElementWriter(root, SETTINGS, shard_clips=3) as writer:
        for number in range(10_000):
            writer.add(clip(f"real/{number:05d}.mp4"), [WINDOWS[0]])


def test_killed_writer_leaves_whole_elements(tmp_path):
    root = tmp_path / "store"
    child = mp.get_context("fork").Process(target=write_forever, args=(root,))
    child.start()
    while not (root / JOURNAL).exists() or (root / JOURNAL).stat().st_size < 10_000:
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with ElementWriter(root, SETTINGS, shard_clips=3) as writer:
        count = len(writer.records)
    store = ElementStore(root)
    assert len(store) == count > 5
    assert len(members(root)) == 4 * count
    for meta in store.metas:
        assert np.array_equal(store.read(meta.key).mel, unpack(WINDOWS[0]["parts"]).mel)


def test_dropped_and_replaced_clips_leave_no_members(tmp_path):
    root = tmp_path / "store"
    fill(root, ["real/a.mp4", "real/b.mp4", "real/c.mp4"])
    with ElementWriter(root, SETTINGS, shard_clips=3) as writer:
        writer.drop(["real/a.mp4"])
        writer.add({**clip("real/b.mp4"), "sha256": "1" * 64}, [WINDOWS[3]])
    store = ElementStore(root)
    assert [m.key for m in store.metas] == ["real/b_mp4/000000", "real/c_mp4/000000", "real/c_mp4/001000"]
    assert sorted({name.split(".")[0] for name in members(root)}) == [m.key for m in store.metas]
    assert np.array_equal(store.read("real/b_mp4/000000").mel, unpack(WINDOWS[3]["parts"]).mel)
    whole = store.read("real/c_mp4/001000", frames=[5], waveform=True)
    assert np.array_equal(whole.frames, unpack(WINDOWS[1]["parts"]).frames[[5]])
    assert np.array_equal(whole.waveform, unpack(WINDOWS[1]["parts"]).waveform)


def test_clip_with_lost_data_counts_as_not_done(tmp_path):
    fill(tmp_path / "store", ["real/a.mp4", "real/b.mp4", "real/c.mp4"])
    (tmp_path / "store" / "shard-000-00001.tar").unlink()
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        assert sorted(writer.records) == ["real/a.mp4"]


def test_other_settings_are_refused_by_name(tmp_path):
    fill(tmp_path / "store", ["real/a.mp4"])
    with pytest.raises(UserError, match=r"media.hop was 1.0 and is now 2.0.*choose another output") as caught:
        ElementWriter(tmp_path / "store", {**SETTINGS, "media.hop": 2.0}).__enter__()
    assert "decoder" not in str(caught.value)


def test_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        ElementWriter(tmp_path, SETTINGS).__enter__()
    with pytest.raises(UserError, match="cannot be written to"):
        ElementWriter(tmp_path / "thesis.txt", SETTINGS).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_second_writer_at_once_is_refused(tmp_path):
    with (
        ElementWriter(tmp_path / "store", SETTINGS),
        pytest.raises(UserError, match="another run"),
    ):
        ElementWriter(tmp_path / "store", SETTINGS).__enter__()


def test_full_disk_names_the_file_and_can_be_resumed(tmp_path, monkeypatch):
    root, pwrite, left = tmp_path / "store", os.pwrite, 3_000_000

    def limited(file: int, data: memoryview, at: int) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= min(len(data), left)
        return pwrite(file, data[: max(left, 1)], at)

    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(OSError, match="No space left") as caught:
        fill(root, [f"real/{n}.mp4" for n in range(9)])
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value.filename).startswith(str(root))
    monkeypatch.undo()
    with ElementWriter(root, SETTINGS, shard_clips=3) as writer:
        done = len(writer.records)
        for n in range(9):
            if f"real/{n}.mp4" not in writer.records:
                writer.add(clip(f"real/{n}.mp4"), [WINDOWS[0], WINDOWS[1]])
    assert 0 < done < 9
    fill(tmp_path / "whole", [f"real/{n}.mp4" for n in range(9)])
    assert (root / JOURNAL).read_bytes() == (tmp_path / "whole" / JOURNAL).read_bytes()
