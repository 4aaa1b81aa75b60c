"""Resumable outputs: the guard of their folder and the records of what is done."""

import json
from pathlib import Path

import pytest

from avdfd.core import journal as journal_module
from avdfd.core.errors import UserError
from avdfd.core.files import atomic_file
from avdfd.core.journal import (
    SETTINGS,
    AppendedFile,
    Journal,
    RecordFiles,
    claim,
    refuse_changes,
    refuse_overlap,
    vanished,
)

FORMER_CLONES = b'{"source": "b", "value": 1}\n{"source": "a", "value": 2}\n{"source": "b", "value": 3}\n'
"""Lines of a journal of cloned clips as written by earlier versions."""


def record(source: str, note: int = 0) -> dict:
    return {"clip": {"source": source, "tier": "RVRA"}, "windows": [], "note": note}


def line(source: str, note: int = 0) -> bytes:
    return json.dumps(record(source, note), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def gone(source: str) -> bytes:
    return f'{{"clip":{{"source":"{source}"}},"gone":true}}\n'.encode()


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def test_later_lines_replace_earlier_ones_and_a_torn_line_is_ignored(tmp_path):
    path = write(tmp_path / "j", line("b"), line("ä/'c\""), line("b", 1), line("a"), gone("a"), line("x")[:-1])
    with Journal(path) as journal:
        assert list(journal) == ["b", "ä/'c\""]
        assert journal["b"] == record("b", 1)
        assert "a" not in journal
        assert "x" not in journal
    assert path.read_bytes().endswith(line("x")[:-1])


def test_missing_file_has_no_records(tmp_path):
    with Journal(tmp_path / "nothing") as journal:
        assert dict(journal) == {}
    assert not (tmp_path / "nothing").exists()


def test_appending_cuts_off_a_torn_line(tmp_path):
    path = write(tmp_path / "j", line("a"), line("x")[:-1])
    with Journal(path, append=True) as journal:
        journal.add(record("b"))
        assert journal["b"] == record("b")
        journal.add(record("b", 1))
        journal.remove("a")
        assert dict(journal) == {"b": record("b", 1)}
    assert path.read_bytes() == line("a") + line("b") + line("b", 1) + gone("a")


@pytest.mark.parametrize("size", range(len(line("b")) + 1))
def test_killed_at_any_byte_it_resumes(tmp_path, size):
    path = write(tmp_path / "j", line("a"), line("b")[:size])
    with Journal(path, append=True, sync=True) as journal:
        if "b" not in journal:
            journal.add(record("b"))
        journal.compact()
    assert path.read_bytes() == line("a") + line("b")


def test_compact_leaves_the_records_in_order(tmp_path):
    path = write(tmp_path / "j", line("c"), line("b"), line("a"), gone("c"))
    with Journal(path) as journal:
        journal.compact()
    assert path.read_bytes() == line("a") + line("b")


def test_compact_sorts_lines_in_the_order_of_the_work(tmp_path):
    path = write(tmp_path / "j", line("b"), line("a"))
    with Journal(path) as journal:
        journal.compact()
    assert path.read_bytes() == line("a") + line("b")


def test_ordered_file_is_not_rewritten(tmp_path):
    path = write(tmp_path / "j", line("a"), line("b"))
    before = path.stat().st_ino
    with Journal(path, append=True) as journal:
        journal.add(record("c"))
        journal.compact()
    assert path.stat().st_ino == before
    assert path.read_bytes() == line("a") + line("b") + line("c")


def test_forgotten_record_is_absent_after_compact(tmp_path):
    path = write(tmp_path / "j", line("a"), line("b"))
    with Journal(path) as journal:
        journal.forget("a")
        journal.compact()
    assert path.read_bytes() == line("b")


def test_journal_of_an_earlier_version_resumes(tmp_path):
    path = write(tmp_path / "j", FORMER_CLONES, b'{"source": "c", "val')
    with Journal(path, append=True) as journal:
        assert dict(journal) == {"a": {"source": "a", "value": 2}, "b": {"source": "b", "value": 3}}
        journal.add({"source": "c", "value": 4})
        journal.remove("a")
        journal.compact()
    assert [json.loads(text) for text in path.read_text().splitlines()] == [
        {"source": "b", "value": 3},
        {"source": "c", "value": 4},
    ]


def test_damage_is_named(tmp_path):
    for damage in (b"\0" * 50, b"{}", b'{"clip":{"source":"a'):
        with pytest.raises(UserError, match="line 2 is damaged"):
            Journal(write(tmp_path / "j", line("a"), damage + b"\n"))
    broken = line("a").replace(b'"windows":', b'"windows"')
    with Journal(write(tmp_path / "j", broken)) as journal, pytest.raises(UserError, match="the line of a is damaged"):
        journal["a"]


def test_failed_write_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Journal(tmp_path / "j", append=True) as journal:
        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(OSError, match="No space left") as caught:
            journal.add(record("a"))
    assert caught.value.filename == str(tmp_path / "j")


def test_appended_file_starts_at_its_known_end(tmp_path):
    path = write(tmp_path / "f", b"whole|torn end")
    file = AppendedFile(path, 6)
    file.add(b"next")
    file.close()
    assert path.read_bytes() == b"whole|next"


def test_record_files(tmp_path):
    records = RecordFiles(tmp_path / "records")
    assert list(records) == []
    records.write("b/2.mp4", {"size": 1})
    records.write("a.mp4", {"size": 2})
    records.path("b/settings").write_text("{}")
    (tmp_path / "records" / SETTINGS).write_text("{}")
    assert list(records) == ["a.mp4", "b/2.mp4", "b/settings"]
    assert records.read("b/2.mp4") == {"size": 1}
    records.remove("b/2.mp4")
    records.remove("b/2.mp4")
    assert records.read("b/2.mp4") is None
    records.path("a.mp4").write_text('{"size"')
    with pytest.raises(UserError, match=r"a\.mp4\.json: damaged; delete this file"):
        records.read("a.mp4")


def test_claim_creates_a_folder_and_returns_the_first_note(tmp_path):
    root = tmp_path / "a" / "out"
    assert claim(root, root / ".state" / SETTINGS, {"rate": 1}, holds="clips") == {"rate": 1}
    (root / "clip.mp4").touch()
    assert claim(root, root / ".state" / SETTINGS, {"rate": 2}, holds="clips") == {"rate": 1}


def test_claim_ignores_hidden_files(tmp_path):
    (tmp_path / ".hidden").touch()
    assert claim(tmp_path, tmp_path / "store.json", {"rate": 1}, holds="clips") == {"rate": 1}


def test_claim_by_two_jobs_at_once_has_one_note(tmp_path, monkeypatch):
    note = tmp_path / "store.json"

    def late(path, *, replace):
        note.write_text('{"rate": 2}')  # by the other job
        return atomic_file(path, replace=replace)

    monkeypatch.setattr(journal_module, "atomic_file", late)
    assert claim(tmp_path, note, {"rate": 1}, holds="clips") == {"rate": 2}


def test_claim_refuses_other_files(tmp_path):
    (tmp_path / ".hidden").touch()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds other files and no clips; choose another output"):
        claim(tmp_path, tmp_path / "store.json", {}, holds="clips")
    assert not (tmp_path / "store.json").exists()
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(UserError, match=r"store\.json is damaged"):
        claim(tmp_path, tmp_path / "store.json", {}, holds="clips")


def test_changed_settings_are_named_with_the_folder_and_the_remedy(tmp_path):
    refuse_changes(tmp_path, {"a": 1}, {"a": 1})
    with pytest.raises(UserError) as caught:
        refuse_changes(tmp_path, {"same": 0, "rate": 1.0, "old": "x"}, {"same": 0, "rate": 2.0})
    assert str(caught.value) == (
        f'{tmp_path}: made with other settings (old was "x" and is now null; rate was 1.0 and is now 2.0): '
        "choose another output, or delete this one"
    )


def test_another_number_of_shards_has_its_own_remedy(tmp_path):
    with pytest.raises(UserError, match=r"parts was 3 and is now 4\): use --shard i/3 \(SHARDS=3 for sbatch\), choose"):
        refuse_changes(tmp_path, {"parts": 3}, {"parts": 4})


def test_overlapping_folders_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    refuse_overlap(tmp_path / "out", tmp_path / "in")
    refuse_overlap(tmp_path / "in2", tmp_path / "in")
    for out in ("in", "in/out", ".", "out/../in"):
        with pytest.raises(UserError, match="lies within the input"):
            refuse_overlap(tmp_path / out, tmp_path / "in")


def test_vanished_sources(tmp_path):
    assert vanished(tmp_path, {"c", "b", "a"}, {"b", "d"}, tmp_path / "in") == ["a", "c"]
    assert vanished(tmp_path, set(), set(), tmp_path / "in") == []
    with pytest.raises(UserError, match="none of its clips is under the input"):
        vanished(tmp_path, {"a"}, {"b"}, tmp_path / "in")
