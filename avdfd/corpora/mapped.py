"""Adapter of any data set with a table: columns.json says which of its columns states what."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from avdfd.core.clips import UNKNOWN, Entry, Files, make_entry, named_identities, reconcile
from avdfd.core.errors import UserError
from avdfd.core.periods import Periods, check, from_text
from avdfd.core.text import check_columns, read_json
from avdfd.core.tiers import Tier, tier
from avdfd.core.tree import leads_out, tidy
from avdfd.corpora.labels import FAKE_WORDS, NOT_KNOWN, REAL_WORDS, read_label, states, tier_of
from avdfd.corpora.rows import read_rows
from avdfd.corpora.tables import periods_of

MAPPING = "columns.json"
_LABELS = ("label", "label_video", "label_audio")
_TEXTS = ("base", "method", "split", "race", "gender", "page")
_PERIODS = ("fake_periods", "audio_fake_periods", "visual_fake_periods")
FACTS = ("file", "tier", *_LABELS, "identity", *_TEXTS, *_PERIODS)
"""Facts that a column may state."""
_KEYS = ("table", "columns", "folder", "real", "fake")


class _Mapping(NamedTuple):
    table: Path
    columns: dict[str, str]
    """Fact -> column that states it, without the identities."""
    identities: tuple[str, ...]
    """Columns of the identities: several, as a fake has that of the face and that of the voice."""
    folder: str
    real: tuple[str, ...]
    fake: tuple[str, ...]


def mapped(files: Files) -> Iterator[Entry]:
    """Videos anywhere below the root, with columns.json, which names a table (CSV, Parquet, JSON) and its columns:

    `{"table": "meta.csv", "columns": {"file": "path", "label": "is_fake", "identity": ["face", "voice"]}}`. Facts are
    file, tier or label or label_video and label_audio (of the modalities), identity, base, method, split, race, gender,
    page, and fake_periods, audio_fake_periods and visual_fake_periods (s; `[[0.5, 1.25]]`, or lists). `folder`
    is put before every file; `real` and `fake` list the cells that mean so. The identity of a clip without one is what
    its path names like VoxCeleb2 (id00012), or else the path itself.
    """
    mapping = _read(files.root)
    listed = []
    for place, row in read_rows(mapping.table, (*mapping.columns.values(), *mapping.identities)):
        cells = {fact: row[column] for fact, column in mapping.columns.items()}
        name = cells["file"]
        if not isinstance(name, str) or leads_out(tidy(name)):
            raise UserError(f"{place}: column '{mapping.columns['file']}': {name!r} is not a path relative to the root")
        source = files.find(mapping.folder + name)
        stated = _tier(cells, mapping, place)
        texts = {fact: str(cells[fact]).strip() for fact in _TEXTS if states(cells.get(fact))}
        base = texts.pop("base", "")
        facts = {"method": "real" if stated and not stated.label else UNKNOWN, **texts}
        if stated:
            facts |= periods_of(
                {
                    fact: _periods(cells[fact], f"{place}: column '{mapping.columns[fact]}'")
                    for fact in _PERIODS & cells.keys()
                },
                stated,
                *_PERIODS,
            )
        identities = tuple(dict.fromkeys(part for column in mapping.identities for part in _names(row[column])))
        listed.append(
            make_entry(
                files.root,
                source,
                stated,
                identities=identities or named_identities(source, source),
                base=files.find(mapping.folder + base) if base else source,
                problem="" if stated else NOT_KNOWN,
                **facts,
            )
        )
    yield from reconcile(files, listed, mapping.table.name)


def mapping_table(root: Path) -> str:
    """Return the path of the table that a root's columns.json names, relative to the root."""
    return _read(root).table.relative_to(root).as_posix()


def _read(root: Path) -> _Mapping:
    """Return the content of a root's columns.json. Raises UserError for anything else than `mapped` describes."""
    path = root / MAPPING
    if not path.is_file():
        raise UserError(f'{path}: no such file; it names a table and its columns: {{"table": ..., "columns": ...}}')
    content = read_json(path, unique=True)
    if not isinstance(content, dict) or not isinstance(content.get("columns"), dict):
        raise UserError(f"{path}: has no 'columns', an object of facts and the columns that state them")
    check_columns(path, list(content), _KEYS)
    columns = dict(content["columns"])
    check_columns(path, list(columns), FACTS)
    named = columns.pop("identity", [])
    identities = [named] if isinstance(named, str) else named
    names = [*columns.values(), *identities] if isinstance(identities, list) else [identities]
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"{path}: columns: {name!r} is not the name of a column")
    if "file" not in columns or not {"tier", *_LABELS} & columns.keys():
        raise UserError(f"{path}: columns: name the one of 'file', and 'tier', 'label', 'label_video' or 'label_audio'")
    table, folder = content.get("table"), content.get("folder", "")
    if not isinstance(table, str) or leads_out(tidy(table)) or not (root / table).is_file():
        raise UserError(f"{path}: table {table!r} is no file below {root}")
    if not isinstance(folder, str) or (folder and leads_out(tidy(folder))):
        raise UserError(f"{path}: folder {folder!r} is no folder below {root}")
    words = [_words(content, key, usual, path) for key, usual in (("real", REAL_WORDS), ("fake", FAKE_WORDS))]
    return _Mapping(root / table, columns, tuple(identities), f"{tidy(folder)}/" if folder else "", *words)


def _words(content: Mapping[str, Any], key: str, usual: tuple[str, ...], path: Path) -> tuple[str, ...]:
    words = content.get(key)
    if words is None:
        return usual
    if not isinstance(words, list) or not all(isinstance(word, str | int) for word in words):
        raise UserError(f"{path}: {key}: expected a list of the cells that mean {key}")
    return tuple(str(word).strip().lower() for word in words)


def _tier(cells: Mapping[str, Any], mapping: _Mapping, place: str) -> Tier | None:
    """Return the tier that a row states, or None. Raises UserError, which names the column."""
    labels: dict[str, int | None] = {}
    for fact in _LABELS & cells.keys():
        try:
            labels[fact] = read_label(cells[fact], mapping.real, mapping.fake)
        except ValueError as error:
            raise UserError(f"{place}: column '{mapping.columns[fact]}' has {error}") from None
    try:
        stated = tier_of(labels.get("label_video"), labels.get("label_audio"), labels.get("label"))
        named = tier(str(cells["tier"])) if states(cells.get("tier")) else None
    except (ValueError, UserError) as error:
        raise UserError(f"{place}: {error}") from None
    if named and stated and named.label != stated.label:
        raise UserError(f"{place}: the labels contradict tier {named.name} in column '{mapping.columns['tier']}'")
    return named or stated


def _periods(cell: Any, place: str) -> Periods:
    """Return the periods in a cell. Raises UserError, which begins with the place."""
    try:
        return from_text(cell.strip()) if isinstance(cell, str) else check(cell or [])
    except (ValueError, UserError) as error:
        raise UserError(f"{place}: {error}") from None


def _names(cell: Any) -> list[str]:
    """Return the identities in a cell: a list, or a text that separates several by `;`."""
    parts = cell if isinstance(cell, list) else str(cell).split(";") if cell is not None else []
    return [str(part).strip() for part in parts if states(part)]
