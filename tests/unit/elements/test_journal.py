"""Records on disk, by source."""

from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.elements.journal import Journal, encode_gone, encode_record


def line(source: str, note: int = 0) -> bytes:
    return encode_record({"tier": "RVRA", "source": source}, [], {"note": note})


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def test_later_lines_count_and_torn_ones_do_not(tmp_path):
    path = write(tmp_path / "j", line("b"), line("ä/'c\""), line("b", 1), line("a"), encode_gone("a"), line("x")[:-1])
    with Journal(path) as journal:
        assert list(journal) == ["b", "ä/'c\""]
        assert journal["b"] == {"clip": {"source": "b", "tier": "RVRA"}, "windows": [], "note": 1}
        assert "a" not in journal
        assert "x" not in journal
        assert journal.whole == path.stat().st_size - len(line("x")) + 1


def test_no_file_is_no_records(tmp_path):
    with Journal(tmp_path / "nothing") as journal:
        assert dict(journal) == {}
    assert not (tmp_path / "nothing").exists()


def test_compacted_to_the_records_in_order(tmp_path):
    path = write(tmp_path / "j", line("c"), line("b"), line("a"), encode_gone("c"))
    with Journal(path) as journal:
        journal.compact()
    assert path.read_bytes() == line("a") + line("b")


def test_what_is_in_order_is_not_written_again(tmp_path):
    path = write(tmp_path / "j", line("a"), line("b"))
    before = path.stat().st_ino
    with Journal(path) as journal:
        with path.open("ab") as file:
            file.write(line("c"))
        journal.follow(line("c"))
        assert journal["c"]["clip"]["source"] == "c"
        journal.compact()
    assert path.stat().st_ino == before


def test_forgotten_record_is_not_in_what_is_compacted(tmp_path):
    path = write(tmp_path / "j", line("a"), line("b"))
    with Journal(path) as journal:
        journal.forget("a")
        journal.compact()
    assert path.read_bytes() == line("b")


def test_damage_is_said(tmp_path):
    with pytest.raises(UserError, match="line 2 is damaged"):
        Journal(write(tmp_path / "j", line("a"), b"\0" * 50 + b"\n"))
    broken = line("a").replace(b'"windows":', b'"windows"')
    with Journal(write(tmp_path / "j", broken)) as journal, pytest.raises(UserError, match="the line of a is damaged"):
        journal["a"]
