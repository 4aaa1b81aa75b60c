"""CSV and JSON tables that come with data sets, read strictly: what is wrong with one is said with its place."""

import csv
import difflib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, RVRA, Tier, tier


class OwnRow(NamedTuple):
    """A line of a table of one's own; what it does not say is empty."""

    file: str
    tier: Tier
    identities: tuple[str, ...]
    base: str
    method: str
    race: str
    gender: str
    page: str
    split: str


OWN_COLUMNS = ("file", "label", "tier", "identity", "base", "method", "race", "gender", "page", "split")
_LABELS = {"real": RVRA, "0": RVRA, "fake": FAKE, "1": FAKE}


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file, or none if the file is not there. Raises UserError if a column is missing."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            first = file.readline()
            file.seek(0)
            delimiter = "\t" if "\t" in first else ","
            reader = csv.DictReader(file, delimiter=delimiter, restval="", skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            absent = sorted(set(columns) - set(reader.fieldnames))
            if absent:
                raise UserError(f"{path}: has no column '{absent[0]}'; its columns are {reader.fieldnames}")
            return [{key: value.strip() for key, value in row.items() if key is not None} for row in reader]
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None


def read_own(path: Path) -> Iterator[OwnRow]:
    """Rows of a table of one's own. Raises UserError if it is not there, or for an unknown column or value."""
    if not path.is_file():
        raise UserError(f"{path}: no such table; its columns are {', '.join(OWN_COLUMNS)}")
    rows = read_table(path, ("file",))
    if not rows:
        raise UserError(f"{path}: has no rows")
    for name in rows[0]:
        if name not in OWN_COLUMNS:
            near = difflib.get_close_matches(name, OWN_COLUMNS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UserError(f"{path}: unknown column '{name}'{hint}; the columns are {', '.join(OWN_COLUMNS)}")
    if "label" not in rows[0] and "tier" not in rows[0]:
        raise UserError(f"{path}: has neither a column 'label' (real, fake) nor 'tier'")
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        place = PurePosixPath(row["file"])
        if not row["file"] or place.is_absolute() or ".." in place.parts:
            raise UserError(f"{path}: line {number}: file '{row['file']}' is not a path relative to {path.parent}")
        if str(place) in seen:
            raise UserError(f"{path}: line {number}: '{place}' is listed twice")
        seen.add(str(place))
        yield OwnRow(
            file=str(place),
            tier=_own_tier(row, f"{path}: line {number}"),
            identities=tuple(
                dict.fromkeys(name.strip() for name in row.get("identity", "").split(";") if name.strip())
            ),
            **{key: row.get(key, "") for key in ("base", "method", "race", "gender", "page", "split")},
        )


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of the text's encoding as well
        raise UserError(f"{path}: cannot be read as JSON ({error}); get it again") from None


def json_rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects of a JSON list. Raises UserError if it is no such list, or an object lacks a key."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of clips")
    for number, row in enumerate(rows):
        absent = [key for key in keys if not isinstance(row, dict) or key not in row]
        if absent:
            raise UserError(f"{path}: entry {number} has no '{absent[0]}'")
    return rows


def _own_tier(row: dict[str, str], place: str) -> Tier:
    label, name = row.get("label", "").lower(), row.get("tier", "")
    if label and label not in _LABELS:
        raise UserError(f"{place}: label '{row['label']}'; expected real, fake, 0 or 1")
    if not label and not name:
        raise UserError(f"{place}: neither a label nor a tier")
    found = tier(name) if name else _LABELS[label]
    if label and found.label != _LABELS[label].label:
        raise UserError(f"{place}: label '{label}' contradicts tier {name}")
    return found
