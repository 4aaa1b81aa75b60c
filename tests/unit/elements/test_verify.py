"""Damage of a store is found, named and repaired; a store from outside harms nobody."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from avdfd.core.errors import UserError
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import LANDMARKS, encode_array
from avdfd.elements.index import merge
from avdfd.elements.layout import FILES, INDEX, STORE, note_files
from avdfd.elements.table import LANDMARKS_SUM
from avdfd.elements.verify import verify
from tests.helpers.elements import JOURNAL, SETTINGS, WINDOWS, clip, with_landmarks

SOURCES = ["real/a.mp4", "real/b.mp4", "real/c.mp4"]
SHARD = "shard-000-00000.tar"


def add(writer: ElementWriter) -> None:
    for seed, source in enumerate(SOURCES):
        if source not in writer.records:
            writer.add(clip(source), [WINDOWS[seed]])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made") / "store"
    with ElementWriter(root, SETTINGS, shard_clips=2) as writer:
        add(writer)
    assert merge(root)
    return root


@pytest.fixture
def root(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "store")


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file; flipping it again restores the file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def bits(path: Path, count: int) -> list[int]:
    return random.Random(0).sample(range(8 * path.stat().st_size), count)


def content(root: Path) -> list:
    """Return all that a store has, as values that can be compared."""
    store = ElementStore(root)
    elements = [store.read(meta.key, waveform=True, frames=range(77)) for meta in store.metas]
    return [[one.meta, one.waveform.tobytes(), one.mel.tobytes(), one.frames.tobytes()] for one in elements]


def test_whole_store(made):
    found = verify(made)
    assert (found.elements, found.unchecked, found.whole, found.damages) == (3, 0, True, [])
    assert found.bytes == sum(path.stat().st_size - 1024 for path in made.glob("*.tar"))


def test_every_flipped_bit_of_a_shard_is_found_and_named(root):
    shard = root / SHARD
    for bit in bits(shard, 60):
        flip(shard, bit)
        (damage,) = verify(root).damages
        assert str(damage).startswith(f"{shard}: ")
        assert damage.source in SOURCES[:2]
        flip(shard, bit)
    assert verify(root).damages == []


@pytest.mark.parametrize(("suffix", "number"), [("wav", 0), ("mel.npy", 0), ("mjpeg", 1)])
def test_damaged_member_is_not_read(root, suffix, number):
    store, shard = ElementStore(root), root / SHARD
    meta = store.metas[number]
    at = int(store.metas.numbers(suffix)[number])
    asked = {"wav": {"waveform": True, "mel": False}, "mel.npy": {}, "mjpeg": {"mel": False, "frames": [0, 2]}}[suffix]
    for byte in random.Random(1).sample(range(at, at + 5000), 10):
        flip(shard, 8 * byte + 3)
        with pytest.raises(UserError, match=rf"{SHARD}: .* of the clip {meta.source} is damaged .*data/preprocess.py"):
            store.read(meta.key, **asked)
        flip(shard, 8 * byte + 3)
        store.read(meta.key, **asked)


def test_damaged_landmarks_are_found_and_not_read(tmp_path):
    with ElementWriter(tmp_path, SETTINGS) as writer:
        writer.add(clip("real/a.mp4"), [with_landmarks(WINDOWS[0], 0)])
    assert merge(tmp_path)
    assert verify(tmp_path).damages == []
    store = ElementStore(tmp_path)
    key, at = store.metas[0].key, int(store.metas.numbers(LANDMARKS)[0])
    for byte in (at, at + 77 * 71 * 3 * 2 - 1):
        flip(tmp_path / SHARD, 8 * byte)
        assert len(verify(tmp_path).damages) == 1
        with pytest.raises(UserError, match=rf"{SHARD}: landmarks\.npy of the clip real/a\.mp4 is damaged"):
            store.read(key, mel=False, landmarks=True)
        flip(tmp_path / SHARD, 8 * byte)
    store.read(key, mel=False, landmarks=True)


def test_index_from_before_landmarks_is_read(root, made):
    table = pa.ipc.open_file(made / INDEX).read_all().drop_columns([LANDMARKS, LANDMARKS_SUM])
    about = json.loads((root / STORE).read_text())
    del about[FILES]
    (root / STORE).write_text(json.dumps(about))
    with pa.ipc.new_file(root / INDEX, table.schema) as file:
        file.write_table(table)
    assert content(root) == content(made)
    assert not ElementStore(root).has_landmarks


def test_end_marker(root):
    flip(root / SHARD, 8 * ((root / SHARD).stat().st_size - 5))
    assert "its end marker is damaged" in str(*verify(root).damages)
    with ElementWriter(root, SETTINGS, shard_clips=2) as writer:
        writer.drop_damaged()
        assert [*writer.records] == SOURCES
    assert merge(root)
    assert verify(root).damages == []


def test_damaged_clips_are_made_again(root, made):
    flip(root / SHARD, 40_000)
    with ElementWriter(root, SETTINGS, shard_clips=2) as writer:
        (line,) = writer.drop_damaged()
        assert SHARD in line
        assert SOURCES[0] in line
        assert [*writer.records] == SOURCES[1:]
        add(writer)
        assert writer.drop_damaged() == []
    assert merge(root)
    assert verify(root).damages == []
    assert content(root) == content(made)


def test_no_flipped_bit_of_the_journal_is_taken_for_a_record(root, made):
    """Opened to be read it is refused; opened by a writer, the lines count as not done."""
    journal, expected = root / JOURNAL, content(made)
    (root / INDEX).unlink()
    for bit in bits(journal, 60):
        flip(journal, bit)
        with pytest.raises(UserError, match=rf"{JOURNAL}: damaged"):
            ElementStore(root)
        flip(journal, bit)
    for bit in bits(journal, 60)[:6]:
        flip(journal, bit)
        with ElementWriter(root, SETTINGS, shard_clips=2) as writer:
            writer.drop_damaged()
            add(writer)
        assert merge(root)
        assert content(root) == expected
        assert verify(root).damages == []


def test_journal_of_an_unfinished_store_is_checked_line_by_line(root):
    note_files(root, None)
    (root / INDEX).unlink()
    journal = root / JOURNAL
    refused, expected = 0, content(root)
    for bit in bits(journal, 60):
        flip(journal, bit)
        try:
            assert all(one in expected for one in content(root))
        except UserError:
            refused += 1
        flip(journal, bit)
    assert refused > 55, "the others are in the checksum's own name"


def test_every_flipped_bit_of_the_index_is_found(root):
    index = root / INDEX
    for bit in bits(index, 60):
        flip(index, bit)
        with pytest.raises(UserError, match=rf"{INDEX}: damaged, its checksum differs from {STORE}; delete it"):
            ElementStore(root)
        assert "index.arrow: damaged" in str(verify(root).damages[0])
        flip(index, bit)
    ElementStore(root)


def test_no_crafted_index_ends_the_process(root):
    """Bytes of columns and of their places are changed, without a note in store.json that would tell."""
    note_files(root, None)
    index, drawn = root / INDEX, random.Random(2)
    whole = index.read_bytes()
    refused = 0
    for _ in range(60):
        forged = bytearray(whole)
        at = drawn.randrange(len(forged) - 4)
        forged[at : at + 4] = drawn.choice([b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x0d\0\0\0"])
        index.write_bytes(forged)
        try:
            store = ElementStore(root)
            for meta in store.metas:
                store.read(meta.key, waveform=True, frames=[0, 76])
        except (UserError, KeyError):
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("column", "value"),
    [("last", -1), ("last", 1 << 62), ("wav", 1 << 40), ("part", -1), ("shard", -7), ("end", np.inf), ("end", 1e9)],
)
def test_places_outside_of_a_shard_are_refused(root, column, value):
    note_files(root, None)
    table = pa.ipc.open_file(root / INDEX).read_all()
    number = table.schema.get_field_index(column)
    changed = pa.array([value] * len(table), table.schema.field(column).type)
    table = table.set_column(number, table.schema.field(column), changed)
    with pa.ipc.new_file(root / INDEX, table.schema) as file:
        file.write_table(table)
    with pytest.raises(UserError, match=r"index.arrow: not a valid index"):
        ElementStore(root)


def test_store_copied_in_part_is_not_taken_for_a_whole_one(root, made, tmp_path):
    names = [path.name for path in made.iterdir() if not path.name.startswith(".")]
    assert len(names) == 5
    for name in names:
        part = shutil.copytree(made, tmp_path / name, ignore=shutil.ignore_patterns(name))
        if name == INDEX:
            assert content(part) == content(made), "made from the journals"
        else:
            with pytest.raises(UserError, match=rf"{name}: missing.*copied in part|has no {name}: copied in part"):
                ElementStore(part)
        if name != STORE:
            assert [damage.file.name for damage in verify(part).damages] == [name]
            assert "missing" in str(*verify(part).damages)
    with (root / SHARD).open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(UserError, match=rf"{SHARD}: has 1000000 of \d+ bytes: .*copied in part"):
        ElementStore(root)


def test_store_from_before_checksums_is_read(root, made):
    records = [json.loads(line) for line in (root / JOURNAL).read_text().splitlines()]
    for record in records:
        del record["crc32"], record["windows"][0]["sums"]
    (root / JOURNAL).write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
    about = json.loads((root / STORE).read_text())
    del about[FILES]
    (root / STORE).write_text(json.dumps(about))
    table = pa.ipc.open_file(made / INDEX).read_all().drop_columns("sums")
    with pa.ipc.new_file(root / INDEX, table.schema) as file:
        file.write_table(table)
    assert content(root) == content(made)
    found = verify(root)
    assert (found.elements, found.unchecked, found.whole, found.damages) == (3, 3, False, [])
    (root / INDEX).unlink()
    assert content(root) == content(made)
    with ElementWriter(root, SETTINGS, shard_clips=2) as writer:
        assert writer.drop_damaged() == []
        assert [*writer.records] == SOURCES
    flip(root / SHARD, 8 * (int(table["mjpeg"][0].as_py()) + 1))
    store = ElementStore(root)
    with pytest.raises(UserError, match=rf"{SHARD}: frame 0 of the clip real/a.mp4 is damaged"):
        store.read(store.metas[0].key, frames=[0])


@pytest.mark.parametrize(
    "about",
    [b"{", b"[]", b"[" * 100_000, b'{"parts": 1000000000}', b'{"parts": "x"}', b'{"files": {"../x": [1, 2]}}'],
)
def test_crafted_settings_of_a_store(root, about):
    (root / STORE).write_bytes(about)
    with pytest.raises(UserError, match=STORE):
        ElementStore(root)


def test_values_that_are_not_finite_are_named_and_repaired(tmp_path):
    """They have a valid checksum, as they were stored like this. Training and scoring name what they read of them."""
    good = dict(WINDOWS[0]["parts"])
    mel = np.full((128, 768), np.float32(0.5))
    mel[3, 4] = np.nan
    bad = WINDOWS[0] | {"parts": good | {"mel_err.npy": encode_array(mel)}}
    root = tmp_path / "store"
    with ElementWriter(root, SETTINGS) as writer:
        writer.add(clip(SOURCES[0]), [WINDOWS[1]])
        writer.add(clip(SOURCES[1]), [bad])
    assert merge(root)
    store = ElementStore(root)
    (key,) = (meta.key for meta in store.metas if meta.source == SOURCES[1])
    assert np.isnan(store.read(key, mel_err=True).mel_err).sum() == 1
    (damage,) = verify(root).damages
    assert str(damage) == f"{root / SHARD}: {key} has values that are not finite (clip {SOURCES[1]})"
    with ElementWriter(root, SETTINGS) as writer:
        assert writer.drop_damaged() == [str(damage)]
        assert [*writer.records] == SOURCES[:1]
