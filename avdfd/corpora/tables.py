"""Strict readers of the CSV and JSON tables of data sets; an error names the file and the line."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from avdfd.core.clips import CLIP_FIELDS, PERIOD_FIELDS, ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.periods import as_text, check, from_text, merged
from avdfd.core.text import check_columns, read_csv, read_json
from avdfd.core.tiers import FAKE, RVRA, Tier, tier
from avdfd.core.tree import leads_out, tidy


class OwnRow(NamedTuple):
    """A line of a user's clips.csv."""

    source: str
    tier: Tier
    facts: dict[str, Any]
    """Arguments of `avdfd.core.clips.make_entry` that the line states, by name."""


_RENAMED = {"source": "file", "identities": "identity"}
_FACTS = tuple(name for name in CLIP_FIELDS if name not in ("source", "tier", "sha256", "has_video"))
_COLUMNS = ("file", "tier", *(_RENAMED.get(name, name) for name in _FACTS), "split")
OWN_COLUMNS = ("file", "label", *_COLUMNS[1:])
"""Columns that a user's clips.csv may have."""
_TEXTS = ("original", "split", "audio_model", "video_model")
"""Keys of a JSON list that a row may have, with a text or null."""
_LABELS = {"real": RVRA, "0": RVRA, "fake": FAKE, "1": FAKE}


def read_table(path: Path, columns: tuple[str, ...], *, key: str = "") -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if it does not exist.

    Raises UserError if a column is missing, or a row has nothing in the column `key`, and as `read_csv` does.
    """
    if not path.is_file():
        return []
    table = read_csv(path)
    absent = sorted(set(columns) - set(table.columns))
    if absent:
        raise UserError(f"{path}: has no column '{absent[0]}'; its columns are {table.columns}")
    for line, row in table.rows:
        if key and not row[key]:
            raise UserError(f"{path}: line {line}: has no {key}; name it or remove the line")
    return [row for _, row in table.rows]


def read_own(path: Path) -> Iterator[OwnRow]:
    """Yield the lines of a user's clips.csv. Raises UserError if it does not exist, has an unknown column or value."""
    if not path.is_file():
        raise UserError(f"{path}: no such table; its columns are {', '.join(OWN_COLUMNS)}")
    columns, rows = read_csv(path)
    if "file" not in columns:
        raise UserError(f"{path}: has no column 'file'; its columns are {columns}")
    if not rows:
        raise UserError(f"{path}: has no rows")
    check_columns(path, columns, OWN_COLUMNS)
    if "label" not in columns and "tier" not in columns:
        raise UserError(f"{path}: has neither a column 'label' (real, fake) nor 'tier'")
    seen: set[str] = set()
    for number, row in rows:
        place = PurePosixPath(row["file"])
        if leads_out(tidy(row["file"])):
            raise UserError(f"{path}: line {number}: file '{row['file']}' is not a path relative to {path.parent}")
        if str(place) in seen:
            raise UserError(f"{path}: line {number}: '{place}' is listed twice")
        seen.add(str(place))
        identities = dict.fromkeys(name.strip() for name in row.get("identity", "").split(";") if name.strip())
        facts = {name: row.get(name) for name in (*_FACTS, "split")} | {"identities": tuple(identities)}
        stated = {name: value for name, value in facts.items() if value}
        for name in PERIOD_FIELDS:
            try:
                from_text(row.get(name, ""))
            except UserError as error:
                raise UserError(f"{path}: line {number}: {name}: {error}") from None
        yield OwnRow(str(place), _own_tier(row, f"{path}: line {number}"), stated)


def own_lines(clips: Iterable[tuple[ClipMeta, str]]) -> list[tuple[str, ...]]:
    """Return the header and the sorted lines of a clips.csv of clips and their splits."""
    return [_COLUMNS, *sorted(_own_line(clip, split) for clip, split in clips)]


def json_rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the objects of a JSON list. `file` is one of the keys.

    Raises UserError if it is no such list, or an object lacks a key or the name of its file.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of clips")
    for number, row in enumerate(rows):
        absent = [key for key in keys if not isinstance(row, dict) or key not in row]
        if absent:
            raise UserError(f"{path}: entry {number} has no '{absent[0]}'")
        if not isinstance(row["file"], str) or not row["file"]:
            raise UserError(f"{path}: entry {number}: file {row['file']!r} is not the name of a file")
        for key in _TEXTS:
            if not isinstance(row.get(key) or "", str):
                raise UserError(f"{path}: entry {number}: {key} {str(row[key])[:80]} is not a text")
    return rows


def periods_of(row: dict[str, Any], tier: Tier, either: str, audio: str = "", visual: str = "") -> dict[str, Any]:
    """Return the fake periods of a fake clip as arguments of `make_entry`, or the problem if they are not periods.

    `either` is the key of the periods in which audio or video is fake; `audio` and `visual` are those of one modality,
    whose periods are those of `either` if the table lists none. Without any, the periods are unknown.
    """
    if not tier.label:
        return {}
    try:
        both, of_audio, of_video = (check(row.get(key) or []) for key in (either, audio, visual))
    except ValueError as error:
        return {"problem": f"{either}: {error}"}
    return {
        "fake_periods": both or merged([*of_audio, *of_video]) or None,
        "audio_fake_periods": as_text(of_audio or both) if tier.audio != 0 else "",
        "visual_fake_periods": as_text(of_video or both) if tier.video != 0 else "",
    }


def _own_line(clip: ClipMeta, split: str) -> tuple[str, ...]:
    facts = {name: getattr(clip, name) for name in _FACTS} | {"identities": ";".join(clip.identities)}
    return (clip.source, clip.tier, *facts.values(), split)


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
