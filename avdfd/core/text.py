"""The one reader of text, JSON and CSV files that come from outside, and text that is safe to write.

A byte-order mark is no part of a file's text. An error names the file and, of a table, the line.
"""

import csv
import difflib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.core.errors import UserError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First letters of a cell that a spreadsheet computes."""
_QUOTE = "'"
_LONGEST_HEADER = 65536  # letters
_DEEPEST = 64
_TOO_DEEP = f"lists and objects are nested more than {_DEEPEST} deep"


class Table(NamedTuple):
    """Content of a CSV file with a header."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]
    """Line in the file, and its cells by column; cells that a row does not have are empty."""


def read_text(path: Path, kind: str = "text") -> str:
    """Return the text of a file. Raises UserError if it cannot be read, or is not UTF-8."""
    try:
        return decode(path.read_bytes(), path, kind)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def decode(data: bytes, path: Path, kind: str = "text") -> str:
    """Return the text of a file's content. Raises UserError, naming the file and its kind, if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read as {kind} in UTF-8: not a text file, or of another encoding") from None


def read_json(path: Path, *, unique: bool = False) -> Any:
    """Return the content of a JSON file. Raises UserError for text that `parse_json` refuses."""
    try:
        return parse_json(read_text(path), unique=unique)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); correct it or get it again") from None


def parse_json(text: str, *, unique: bool = False) -> Any:
    """Return the content of a JSON text.

    Raises ValueError if it is not JSON, is nested too deeply, has a number of too many digits or the escape of a lone
    surrogate or, if `unique`, has a key twice.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique if unique else None)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(str(error).partition(";")[0]) from None  # the rest is for programmers
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError(_TOO_DEEP)
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it has an escape of half a letter, which no file name or table can hold") from None
    return value


def read_names(path: Path) -> dict[str, int]:
    """Return the names in a list with one per line, and the last line of each; '#' starts a comment.

    Raises UserError.
    """
    lines = enumerate(read_text(path, "a list of names").splitlines(), start=1)
    return {name: number for number, line in lines if (name := line.partition("#")[0].strip())}


def read_cells(text: str, path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of the rows of a CSV text that are not empty.

    Raises UserError for a quote that does not end, which would take the rows after it into one cell.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            cells = [unquoted(cell.strip()) for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: cannot be read as CSV in UTF-8 ({error})") from None


def read_csv(path: Path, text: str | None = None) -> Table:
    """Return the rows of a CSV file, whose delimiter is that of its first line: a tab, a comma or a semicolon.

    `text` is its text, if that is known. Raises UserError for a file without a header, for a column that is there
    twice, and for a row with more cells than columns. Of several columns without a name, the first counts.
    """
    text = read_text(path, "CSV") if text is None else text
    rows = read_cells(text, path, _delimiter(text.partition("\n")[0]))
    _, columns = next(rows, (0, []))
    if not columns:
        raise UserError(f"{path}: is empty; its first line names the columns")
    for name in columns:
        if name and columns.count(name) > 1:
            raise UserError(f"{path}: twice the column '{name}'; rename or remove one")
    found = []
    for line, cells in rows:
        if any(cells[len(columns) :]):
            raise UserError(f"{path}: line {line}: more cells than columns; quote a cell that has a comma")
        cells += [""] * (len(columns) - len(cells))
        found.append((line, dict(reversed([*zip(columns, cells, strict=False)]))))
    return Table(columns, found)


def check_columns(path: Path, columns: Sequence[str], known: Sequence[str]) -> None:
    """Check the columns of a table. Raises UserError for one that is not known, and names the nearest."""
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UserError(f"{path}: unknown column '{name}'{hint}; the columns are {', '.join(known)}")


def columns_of(path: Path) -> list[str]:
    """Return the columns of a CSV file, of which only the beginning is read; bytes that are not UTF-8 are replaced."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(_LONGEST_HEADER)
    return next((cells for _, cells in read_cells(line, path, _delimiter(line))), [])


def quoted(cell: Any) -> Any:
    """Return a cell so that no spreadsheet computes it: text that could be a formula begins with an apostrophe.

    Numbers stay as they are, and so does a lone sign. `read_cells` takes the apostrophe off.
    """
    if not isinstance(cell, str) or len(cell) < 2 or not cell.lstrip(_QUOTE).startswith(FORMULA) or _is_number(cell):
        return cell
    return _QUOTE + cell


def unquoted(cell: str) -> str:
    """Return a cell as it was before `quoted`."""
    return cell[1:] if cell[:1] == _QUOTE and cell.lstrip(_QUOTE).startswith(FORMULA) else cell


def markdown(text: str) -> str:
    """Return a text as part of a Markdown page or table: no HTML, no new cell, no new line."""
    return " ".join(escape(text, quote=False).replace("|", "\\|").split("\n"))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of which is the head, as a Markdown table; all columns but the first are aligned right."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in lines)


def folder_name(name: str) -> str:
    """Return a name if it is that of a folder below another. Raises ValueError if it is empty or leads elsewhere."""
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a folder; write one that is relative, without '.' or '..'")
    return name


def _delimiter(header: str) -> str:
    """Return the delimiter of a CSV file by its first line; spreadsheets with a decimal comma write semicolons."""
    return next((mark for mark in ("\t", ",", ";") if mark in header), ",")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return found
