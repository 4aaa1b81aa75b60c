"""Clips under a folder, and what their place and name say about them."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avdfd.datasets.tiers import FAKE, RVRA, TIERS, Tier
from avdfd.errors import UserError

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp"}
UNKNOWN = "unknown"

_IDENTITY = re.compile(r"id\d+")


@dataclass(frozen=True)
class Clip:
    """A video file. `source` is its path relative to the root; `base` that of the clip it was made from."""

    path: Path
    source: str
    tier: str
    identities: tuple[str, ...]
    base: str
    method: str
    race: str
    gender: str


def scan(root: str | Path, tiers: Iterable[str]) -> list[Clip]:
    """The clips of some tiers under a root, in order of their path.

    The root has FakeAVCeleb's folders, `<tier folder>/<race>/<gender>/<identity>/<clip>`, and its meta_data.csv where
    there is one; or `real/` and `fake/`, and a manifest.csv (file, identity, fake_method) where there is one.
    Raises UserError for a missing or empty root, or one of neither layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; `input` is the root of the videos")
    wanted = [TIERS[name] for name in tiers]
    if any((root / tier.folder).is_dir() for tier in TIERS.values() if tier is not FAKE):
        clips = list(_fakeavceleb(root, wanted))
    elif (root / "real").is_dir() or (root / FAKE.folder).is_dir():
        clips = list(_plain(root, wanted))
    else:
        state = "no layout that is known" if any(root.iterdir()) else "an empty folder"
        raise UserError(
            f"{root}: {state}; expected <tier folder>/<race>/<gender>/<identity>/<clip>, or real/ and fake/"
        )
    if not clips:
        raise UserError(f"{root}: no video files of the tiers {', '.join(tier.name for tier in wanted)}")
    return sorted(clips, key=lambda clip: clip.source)


def _fakeavceleb(root: Path, tiers: list[Tier]) -> Iterator[Clip]:
    rows = {_row_key(row): row for row in _read_csv(root / "meta_data.csv", ("method", "type", "path"))}
    originals = {_person_and_number(path): _relative(path, root) for path in _files(root / RVRA.folder)}
    for tier in tiers:
        for path in _files(root / tier.folder):
            source = _relative(path, root)
            places = path.parent.relative_to(root / tier.folder).parts
            race, gender, identity = places[:3] if len(places) >= 3 else (UNKNOWN, UNKNOWN, path.parent.name)
            row = rows.get((tier.folder, identity, path.name), {})
            named = [row.get("target1", ""), row.get("target2", "")]
            others = [found for text in (*places, path.stem, *named) for found in _IDENTITY.findall(text or "")]
            yield Clip(
                path=path,
                source=source,
                tier=tier.name,
                identities=tuple(dict.fromkeys([identity, *others])),
                base=originals.get(_person_and_number(path), source),
                method=row.get("method") or (RVRA.name if tier is RVRA else UNKNOWN),
                race=race,
                gender=gender,
            )


def _plain(root: Path, tiers: list[Tier]) -> Iterator[Clip]:
    rows = {row["file"]: row for row in _read_csv(root / "manifest.csv", ("file", "identity", "fake_method"))}
    for tier in tiers:
        folder = {RVRA.name: "real", FAKE.name: FAKE.folder}.get(tier.name)
        for path in _files(root / folder) if folder else ():
            source = _relative(path, root)
            row = rows.get(source, {})
            yield Clip(
                path=path,
                source=source,
                tier=tier.name,
                identities=(row.get("identity") or path.stem.split("__")[0],),
                base=source,
                method=row.get("fake_method") or ("real" if tier is RVRA else UNKNOWN),
                race=UNKNOWN,
                gender=UNKNOWN,
            )


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _person_and_number(path: Path) -> tuple[str, str]:
    """Identity folder and leading clip number, which a clip shares with what was made from it."""
    number = re.match(r"\d+", path.stem)
    return path.parent.name, number.group() if number else path.stem


def _row_key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["type"], row.get("source", ""), Path(row["path"]).name


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a table, or none if the file is not there. Raises UserError if a column is missing."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{path}: has no column '{sorted(missing)[0]}'; its columns are {reader.fieldnames}")
        return list(reader)
