"""Table of families of synthesis methods: the vocoder and the converter that each method speaks through.

A CSV with the columns method, page, vocoder, converter, year and source. A row without a page holds on every page that
has no row of its own: a converter may speak through another vocoder on the page of another paper. `converter` is the
model that determines the voice or the words, a voice converter or a synthesiser. Several names are joined by `;`, and
an empty cell is not known. `source` is the paper or repository that the row is from.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from avdfd.core.errors import UserError
from avdfd.core.text import check_columns, read_csv

COLUMNS = ("method", "page", "vocoder", "converter", "year", "source")
_PARTS = ("vocoder", "converter")


class Part(NamedTuple):
    """A part of a synthesis system that several methods may have in common."""

    kind: str
    """vocoder or converter."""
    name: str


class Families:
    """Rows of a table of families; names are compared without regard to case."""

    def __init__(self, rows: Iterable[dict[str, str]] = ()) -> None:
        self._parts = {
            (row["method"].casefold(), row["page"]): frozenset(
                Part(kind, name.strip().casefold()) for kind in _PARTS for name in row[kind].split(";") if name.strip()
            )
            for row in rows
        }

    def parts(self, method: str, page: str) -> frozenset[Part]:
        """Return the known parts of a method on a page; none if the table does not know the method."""
        name = method.casefold()
        return self._parts.get((name, page), self._parts.get((name, ""), frozenset()))

    def unknown(self, methods: Iterable[str]) -> list[str]:
        """Return the methods that the table does not know on any page, sorted."""
        known = {method for method, _ in self._parts}
        return sorted({method for method in methods if method.casefold() not in known})


def read_families(path: Path) -> Families:
    """Read a table of families.

    Raises UserError, naming the line, for a missing file or column, an unknown column, a method listed twice for a
    page, and a row without a method, a part, a source or a year of four digits.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such table of families; its columns are {', '.join(COLUMNS)}")
    columns, rows = read_csv(path)
    _check_columns(path, columns)
    seen: set[tuple[str, str]] = set()
    for line, row in rows:
        _check_row(f"{path}: line {line}", row, seen)
    return Families(row for _, row in rows)


def _check_columns(path: Path, names: list[str]) -> None:
    check_columns(path, names, COLUMNS)
    absent = [name for name in COLUMNS if name not in names]
    if absent:
        raise UserError(f"{path}: has no column '{absent[0]}'; the columns are {', '.join(COLUMNS)}")


def _check_row(place: str, row: dict[str, str], seen: set[tuple[str, str]]) -> None:
    key = (row["method"].casefold(), row["page"])
    if not row["method"]:
        raise UserError(f"{place}: has no method")
    if key in seen:
        raise UserError(f"{place}: '{row['method']}' is listed twice{' for ' + row['page'] if row['page'] else ''}")
    if not any(row[kind].strip("; ") for kind in _PARTS):
        raise UserError(f"{place}: '{row['method']}' has neither a vocoder nor a converter; remove the row")
    if not row["source"]:
        raise UserError(f"{place}: '{row['method']}' has no source; name the paper or repository")
    if not (len(row["year"]) == 4 and row["year"].isascii() and row["year"].isdigit()):
        raise UserError(f"{place}: year '{row['year']}'; write four digits")
    seen.add(key)
