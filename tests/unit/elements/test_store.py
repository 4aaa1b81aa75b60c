import errno
import io
import json
import multiprocessing as mp
import os
import pickle
import signal
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avdfd.config import FaceConfig, MediaConfig
from avdfd.core.errors import UserError
from avdfd.core.journal import AppendedFile
from avdfd.elements import ElementMeta, ElementStore, ElementWriter, pack, unpack
from avdfd.elements.form import LANDMARKS, encode_audio, encode_frame, encode_landmarks, encode_wav, frame_sizes
from avdfd.elements.index import merge
from avdfd.elements.layout import STORE, media_of
from avdfd.features.mel import log_mel
from avdfd.features.window import FRAMES, WINDOW

JOURNAL = "journal-000.jsonl"
SETTINGS = {"media.hop": 1.0, "media.decoder": "pyav"}


def waveform(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, WINDOW).astype(np.float32)


def frames(seed: int) -> np.ndarray:
    """Return smooth random frames (77, 224, 224, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (FRAMES, 4, 4, 3)).astype(np.uint8)
    return np.stack([cv2.resize(frame, (224, 224), interpolation=cv2.INTER_LINEAR) for frame in small])


def window(start: float, seed: int) -> dict:
    audio = encode_audio(waveform(seed))
    mjpeg = b"".join(encode_frame(frame, 90) for frame in frames(seed))
    return {"start": start, "end": start + 3.072, "parts": {**audio, "mjpeg": mjpeg}}


def clip(source: str, tier: str = "RVRA") -> dict:
    return {
        "tier": tier, "identities": ["id1"], "source": source, "base": source, "method": "real", "race": "Asian",
        "gender": "men", "sha256": "0" * 64,
    }  # fmt: skip


WINDOWS = {seed: window(float(seed % 3), seed) for seed in range(4)}


def fill(root: Path, sources: list[str], per_clip: int = 2, shard_clips: int = 3) -> None:
    with ElementWriter(root, SETTINGS, shard_clips) as writer:
        for source in sources:
            writer.add(clip(source), [WINDOWS[seed] for seed in range(per_clip)])


def members(root: Path) -> list[str]:
    names = []
    for shard in sorted(root.glob("shard-*.tar")):
        with tarfile.open(shard) as archive:
            names += archive.getnames()
    return names


def test_unpack_inverts_pack_up_to_rounding():
    facts = {"tier": "RVFA", "identities": ("id1", "id2"), "source": "s.mp4", "base": "b.mp4", "method": "m"}
    facts |= {"race": "r", "gender": "g", "sha256": "ab"}
    meta = ElementMeta(**facts, key="k", start=1.0, end=4.072, version="v")
    samples, images = waveform(0), frames(0)
    parts = pack(meta, samples, images, 95)
    assert set(parts) == {"json", "wav", "mel.npy", "mjpeg"}
    element = unpack(parts)
    assert element.meta == meta
    assert np.abs(element.waveform - samples).max() <= 0.5 / 32768 + 1e-9
    assert np.abs(element.frames.astype(int) - images).mean() < 1.5
    assert element.frames.shape == (FRAMES, 224, 224, 3)
    # The mel is exactly that of the stored audio, so it may as well be computed when the element is read.
    assert np.array_equal(element.mel, log_mel(torch.from_numpy(element.waveform)).numpy())
    assert element.mel.dtype == element.waveform.dtype == np.float32


def test_loud_samples_are_clipped_not_wrapped():
    loud = np.full(WINDOW, 1.5, np.float32)
    loud[::2] = -1.5
    element = unpack({**encode_audio(loud), "mjpeg": encode_frame(frames(0)[0], 90)})
    assert element.waveform.max() == pytest.approx(32767 / 32768)
    assert element.waveform.min() == -1


def test_frame_sizes_of_noise():
    rng = np.random.default_rng(0)
    jpegs = [encode_frame(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8), 100) for _ in range(5)]
    assert frame_sizes(b"".join(jpegs)) == [len(jpeg) for jpeg in jpegs]


def whole_clip(steps: int, seed: int) -> dict:
    """Return an element that is a whole clip of this many frames."""
    audio = encode_audio(waveform(seed).repeat(4)[: 640 * steps], mel=False)
    mjpeg = b"".join(encode_frame(frame, 90) for frame in np.resize(frames(seed), (steps, 224, 224, 3)))
    return {"start": 0.04, "end": 0.04 + steps / 25, "parts": {**audio, "mjpeg": mjpeg}}


@pytest.mark.parametrize("indexed", [False, True])
def test_whole_clips_have_their_own_length(tmp_path, indexed):
    clips = {"a.mp4": whole_clip(30, 0), "b.mp4": whole_clip(100, 1), "c.mp4": whole_clip(26, 2)}
    settings = SETTINGS | {"media.whole": True, "media.max_seconds": 4.0}
    with ElementWriter(tmp_path / "store", settings, 2) as writer:
        for source, element in clips.items():
            writer.add(clip(source), [element])
        writer.drop(["a.mp4"])  # moves b
    if indexed:
        assert merge(tmp_path / "store")
    store = pickle.loads(pickle.dumps(ElementStore(tmp_path / "store", whole=True)))
    assert store.whole
    for meta in store.metas:
        expected = unpack(clips[meta.source]["parts"])
        element = store.read(meta.key, waveform=True, mel=False, frames=range(500))
        assert np.array_equal(element.waveform, expected.waveform)
        assert np.array_equal(element.frames, expected.frames)
        assert np.array_equal(store.read(meta.key, mel=False, frames=[3, 25]).frames, expected.frames[[3, 25]])


@pytest.mark.parametrize("indexed", [False, True])
def test_a_clip_shorter_than_a_window_is_repeated_to_fill_one(tmp_path, indexed):
    steps = 30
    samples, images = waveform(0)[: 640 * steps], frames(0)[:steps]
    full = np.concatenate([samples] * 3)[:WINDOW]
    mjpeg = b"".join(encode_frame(frame, 90) for frame in images)
    parts = {**encode_audio(full), "wav": encode_wav(samples, 16_000), "mjpeg": mjpeg}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer:
        writer.add(clip("a.mp4"), [{"start": 0.04, "end": 0.04 + steps / 25, "parts": parts}])
        writer.add(clip("b.mp4"), [WINDOWS[0]])
    if indexed:
        assert merge(tmp_path / "store")
    store = ElementStore(tmp_path / "store")
    short, window = store.metas
    assert (short.short, window.short) == (True, False)
    element = store.read(short.key, waveform=True, frames=range(500))
    stored = unpack(parts)
    assert np.array_equal(element.waveform, np.concatenate([stored.waveform] * 3)[:WINDOW])
    assert np.array_equal(element.mel, log_mel(torch.from_numpy(element.waveform)).numpy())
    assert np.array_equal(element.frames, np.concatenate([stored.frames] * 3)[:FRAMES]), "in sync with the audio"
    assert np.array_equal(store.read(short.key, frames=[3, 33, 70]).frames, stored.frames[[3, 3, 10]])
    with tarfile.open(tmp_path / "store" / "shard-000-00000.tar") as archive:
        facts = [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]
    assert [one["short"] for one in facts] == [True, False]


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


def test_the_settings_of_the_media_are_read_back(tmp_path):
    flat = {"form": 2, "media.hop": 1.5, "media.keep": ["waveform", "frames"], "media.mel_err": None}
    for name, face in (("whole", {"media.face": None}), ("faces", {"media.face.margin": 2.0})):
        with ElementWriter(tmp_path / name, {**flat, **face}):
            pass
    assert media_of(tmp_path / "whole") == MediaConfig(hop=1.5, keep=["waveform", "frames"], face=None)
    assert media_of(tmp_path / "faces") == MediaConfig(
        hop=1.5, keep=["waveform", "frames"], face=FaceConfig(margin=2.0)
    )
    with ElementWriter(tmp_path / "other", {"made": "up"}):
        pass
    assert media_of(tmp_path / "other") is None
    assert media_of(tmp_path) is None, "not a store"
    (tmp_path / "faces" / STORE).write_text(json.dumps({"settings": {"media.hop": "long"}}))
    with pytest.raises(UserError, match=r"store.json: key 'hop'"):
        media_of(tmp_path / "faces")


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


def tracks(seed: int, steps: int = FRAMES) -> np.ndarray:
    """Return landmarks (steps, 71, 3), some of them beside the crop."""
    return np.random.default_rng(seed).uniform(-40, 260, (steps, 71, 3)).astype(np.float32)


def with_landmarks(element: dict, seed: int) -> dict:
    steps = round(25 * (element["end"] - element["start"]))
    return {**element, "parts": {**element["parts"], LANDMARKS: encode_landmarks(tracks(seed, steps))}}


def test_landmarks_are_stored_to_a_128th_of_a_pixel():
    parts = {LANDMARKS: encode_landmarks(tracks(0))}
    assert len(parts[LANDMARKS]) < 33_000
    stored = unpack(parts).landmarks
    assert stored.dtype == np.float32
    assert np.abs(stored - tracks(0)).max() <= 1 / 128
    far = np.full((1, 71, 3), 1e6)
    assert unpack({LANDMARKS: encode_landmarks(far)}).landmarks.max() == 32767 / 64
    for wrong in (tracks(0)[:, :70], np.where(tracks(0) > 259, np.nan, tracks(0))):
        with pytest.raises(ValueError, match="finite points"):
            encode_landmarks(wrong)


@pytest.mark.parametrize("indexed", [False, True])
def test_landmarks_of_windows_beside_elements_without(tmp_path, indexed):
    root = tmp_path / "store"
    with ElementWriter(root, SETTINGS, 2) as writer:
        writer.add(clip("a.mp4"), [with_landmarks(WINDOWS[0], 0), with_landmarks(WINDOWS[1], 1)])
        writer.add(clip("b.mp4"), [with_landmarks(whole_clip(30, 2), 2), with_landmarks(WINDOWS[3], 3)])
        writer.drop(["a.mp4"])  # moves b
    if indexed:
        assert merge(root)
    store = pickle.loads(pickle.dumps(ElementStore(root)))
    assert store.has_landmarks
    window, short = (store.read(meta.key, mel=False, landmarks=True).landmarks for meta in store.metas)
    assert np.abs(window - tracks(3)).max() <= 1 / 128
    assert np.abs(short - np.concatenate([tracks(2, 30)] * 3)[:FRAMES]).max() <= 1 / 128, "repeated as the frames are"
    assert store.read(store.metas[0].key).landmarks is None
    with ElementWriter(root, SETTINGS, 2) as writer:
        writer.add(clip("c.mp4"), [WINDOWS[2]])
    store = ElementStore(root)
    assert not store.has_landmarks
    with pytest.raises(UserError, match=r"have no landmarks\.npy; make a store with another media\.keep"):
        store.read(store.metas[-1].key, landmarks=True)


def test_landmarks_of_whole_clips_have_their_length(tmp_path):
    settings = SETTINGS | {"media.whole": True, "media.max_seconds": 4.0}
    with ElementWriter(tmp_path / "store", settings) as writer:
        writer.add(clip("a.mp4"), [with_landmarks(whole_clip(30, 0), 0)])
    assert merge(tmp_path / "store")
    store = ElementStore(tmp_path / "store", whole=True)
    assert store.read(store.metas[0].key, mel=False, landmarks=True).landmarks.shape == (30, 71, 3)


def test_landmarks_of_another_length_are_a_mistake(tmp_path):
    parts = {**WINDOWS[0]["parts"], LANDMARKS: encode_landmarks(tracks(0, 76))}
    with ElementWriter(tmp_path / "store", SETTINGS) as writer, pytest.raises(AssertionError, match="another length"):
        writer.add(clip("a.mp4"), [{**WINDOWS[0], "parts": parts}])
