"""The reader of text, JSON and CSV files, and cells that no spreadsheet computes."""

import csv
import io

import pytest

from avdfd.core.errors import UserError
from avdfd.core.files import csv_text
from avdfd.core.text import (
    columns_of,
    folder_name,
    markdown,
    markdown_table,
    parse_json,
    read_csv,
    read_json,
    read_names,
    read_text,
)

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def file(tmp_path):
    def write(data):
        (tmp_path / "file").write_bytes(data if isinstance(data, bytes) else data.encode())
        return tmp_path / "file"

    return write


def test_a_byte_order_mark_is_no_text(file):
    assert read_text(file(BOM + b"a")) == "a"
    assert read_json(file(BOM + b'{"a": 1}')) == {"a": 1}
    assert list(read_names(file(BOM + b"anna\r\nbea # two\n\n# none\nanna\n"))) == ["anna", "bea"]
    assert read_csv(file(BOM + b"file,label\r\na,1\r\n")).rows == [(2, {"file": "a", "label": "1"})]
    assert columns_of(file(BOM + b'"file","label"\nx')) == ["file", "label"]


def test_rows_of_a_table(file):
    table = read_csv(file('a,b,\n1\n\n,,\n" x, y ",2,z,,\n'))
    assert table.columns == ["a", "b", ""]
    assert table.rows == [(2, {"a": "1", "b": "", "": ""}), (5, {"a": "x, y", "b": "2", "": "z"})]
    assert read_csv(file("a \tb, c\n1\t2\n")).rows == [(2, {"a": "1", "b, c": "2"})]
    assert read_csv(file("a;b\n1,5;2\n")).rows == [(2, {"a": "1,5", "b": "2"})]
    assert columns_of(file("a;b\n1;2\n")) == ["a", "b"]
    assert read_csv(file("a,b\n1,x;y\n")).rows == [(2, {"a": "1", "b": "x;y"})]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: more cells than columns"),
        ("a,b,a\n", "twice the column 'a'"),
        ("\n\n", "is empty; its first line names the columns"),
        ('a,b\n"1,2\n3,4\n', "cannot be read as CSV in UTF-8"),
        (b"a,b\n\xff\n", "cannot be read as CSV in UTF-8: not a text file"),
        ("a,b\n1,2".encode("utf-16"), "not a text file, or of another encoding"),
    ],
)
def test_damaged_tables_are_named(file, data, message):
    with pytest.raises(UserError, match=message):
        read_csv(file(data))


def test_damaged_json_is_named(file, tmp_path):
    assert read_json(file('{"a": 1, "a": 2}')) == {"a": 2}
    for data, message in (('{"a": 1, "a": 2}', "'a' is there twice"), ("{", "cannot be read as JSON")):
        with pytest.raises(UserError, match=message):
            read_json(file(data), unique=True)
    for data in ("[" * 100_000, "[" * 65 + "]" * 65):
        with pytest.raises(UserError, match="nested more than 64 deep"):
            read_json(file(data))
    assert read_json(file("[" * 64 + "]" * 64))
    with pytest.raises(UserError, match=r"Exceeds the limit \(4300 digits\) for integer"):
        read_json(file("9" * 5000))
    with pytest.raises(UserError, match="gone: cannot be read"):
        read_text(tmp_path / "gone")


def test_cells_that_look_like_formulas_are_quoted_and_read_back(file):
    names = ["=HYPERLINK(1)", "+a", "-b.mp4", "@c", "'=d", "'e", "-", "-1.5", "\t=f"]
    text = csv_text([["name", "score"], *([name, -0.25] for name in names)])
    cells = list(csv.reader(io.StringIO(text)))[1:]
    assert [cell for cell, _ in cells if cell[:1] in "=+@\t" or cell.startswith("-b")] == []
    assert {score for _, score in cells} == {"-0.25"}
    assert [cell for cell, _ in cells][5:8] == ["'e", "-", "-1.5"]
    assert [row["name"] for _, row in read_csv(file(text)).rows] == names


def test_markdown_has_no_html_and_no_new_cells():
    assert markdown("<img src=x onerror=y> | a & b\nc") == "&lt;img src=x onerror=y&gt; \\| a &amp; b c"
    assert markdown("0.860 [0.820, 0.896]") == "0.860 [0.820, 0.896]"


def test_a_markdown_table_has_a_head_and_no_cell_of_others():
    rows = [["tier", "AUC"], ["RVFA | x", "0.5"]]
    assert markdown_table(rows) == "| tier | AUC |\n| --- | ---: |\n| RVFA \\| x | 0.5 |"


@pytest.mark.parametrize("name", ["", "/abs", "../x", "a/../../x", ".", "a//b", "a/", "a\0b", "a\nb"])
def test_names_that_lead_out_of_their_folder(name):
    with pytest.raises(ValueError, match="is no name of a folder"):
        folder_name(name)


def test_names_of_folders():
    assert [folder_name(name) for name in ("train", "folds/fold_1", "lr0.5-seed0", "..x")] == [
        "train", "folds/fold_1", "lr0.5-seed0", "..x"
    ]  # fmt: skip


def test_half_a_letter_in_json():
    assert parse_json('["\\ud83d\\ude00"]') == ["\U0001f600"]
    for text in ('["\\ud83d"]', '{"\\ude00.mp4": {"label": "REAL"}}'):
        with pytest.raises(ValueError, match="half a letter"):
            parse_json(text)
