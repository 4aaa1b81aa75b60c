"""FakeAVCeleb v1.2: its table, and the comparison of a root with the release.

References: Khalid et al., "FakeAVCeleb: A Novel Audio-Video Multimodal Deepfake Dataset", NeurIPS 2021 (Datasets and
Benchmarks).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from avdfd.core.clips import IDENTITY, Files
from avdfd.core.errors import UserError
from avdfd.core.tiers import FAKE, FVFA, FVRA, RVFA, RVRA, TIERS
from avdfd.core.tree import tidy
from avdfd.corpora.tables import read_table

TABLE = "meta_data.csv"
ROWS = {RVRA.folder: 500, RVFA.folder: 500, FVRA.folder: 9_709, FVFA.folder: 10_857}
"""Rows of the table by tier folder, as released."""
FILES = 21_544
TWICE = 22
"""Paths that the table lists twice, as released."""


@dataclass
class Comparison:
    """Content of a root and its differences from the release; paths are relative to the root, all lists sorted."""

    rows: dict[str, int]
    files: dict[str, int]
    sources: int
    """Number of identities that have a folder."""
    people: int
    """Number of all identities, including those of swapped faces and borrowed voices."""
    paths: list[str]
    """All files of the tiers in the table."""
    counts: list[str] = field(default_factory=list)
    """Counts that differ from those of the release."""
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    wrong_folder: dict[str, str] = field(default_factory=dict)
    """Path in the table -> actual path, for files in another folder; they count neither as missing nor as extra."""
    twice: dict[str, list[str]] = field(default_factory=dict)
    """Paths that are listed more than once, with the methods of their rows. The release has them, too."""
    disagreeing: list[str] = field(default_factory=list)
    """Paths whose row and folder disagree on tier, race, gender or identity. A remark, not a difference."""
    one_person: list[str] = field(default_factory=list)
    """FakeVideo files that name one identity only, although source and target are expected. A remark."""
    made_here: dict[str, int] = field(default_factory=dict)
    """Number of files in tiers that the table does not have, such as cloned voices. A remark."""
    others: dict[str, str] = field(default_factory=dict)
    """Path -> reason of all else below the root: files of other kinds or folders, folders not entered. A remark."""

    @property
    def differs(self) -> bool:
        return bool(self.counts or self.missing or self.extra or self.wrong_folder)


def row_path(row: dict[str, str]) -> str:
    """Return the path of a row's file, relative to the root: from the row's folder, or else from its columns.

    The table names the file in `path` and the folder in an unnamed last column. Another program may have named that
    column, or have put an unnamed one of numbers before the others, so it is known by its content.
    """
    folders = [tidy(cell) for column, cell in row.items() if column != "path"]
    found = next((folder for folder in folders if "/" in folder), "/".join(_places(row)))
    folder = PurePosixPath(tidy(found))
    parts = folder.parts[1:] if folder.parts[:1] == ("FakeAVCeleb",) else folder.parts
    return PurePosixPath(*parts, PurePosixPath(tidy(row["path"])).name).as_posix()


def compare(root: Path, *, released: bool) -> Comparison:
    """Compare the files of a root with its table, and both with the counts of the release if `released`.

    Raises UserError if the root, its table, or all tier folders are missing.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the root of FakeAVCeleb_v1.2")
    folders = [tier.folder for tier in TIERS.values() if tier is not FAKE and (root / tier.folder).is_dir()]
    if not (root / TABLE).is_file() or not folders:
        lacking = TABLE if folders else f"folder such as {RVRA.folder}"
        raise UserError(f"{root}: has no {lacking}; give the root of FakeAVCeleb_v1.2, which holds {TABLE}")
    rows = read_table(root / TABLE, ("source", "target1", "target2", "method", "type", "race", "gender", "path"))
    files = Files(root)
    found = {folder: sorted(files.below(folder)) for folder in folders}
    by_tidy_name = {tidy(path): path for paths in found.values() for path in paths}
    listed: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        listed.setdefault(by_tidy_name.get(row_path(row), row_path(row)), []).append(row)
    tabled = {path.split("/")[0] for path in listed} | ROWS.keys()
    present = {path for folder, paths in found.items() if folder in tabled for path in paths}

    result = Comparison(
        rows=dict(Counter(row["type"] for row in rows)),
        files={folder: len(paths) for folder, paths in found.items()},
        sources=len({PurePosixPath(path).parent.name for path in present}),
        people=len({identity for path in present for identity in _identities(path, listed.get(path, []))}),
        paths=sorted(present),
        twice={path: [row["method"] for row in same] for path, same in sorted(listed.items()) if len(same) > 1},
        disagreeing=sorted(path for path, same in listed.items() if any(_disagrees(path, row) for row in same)),
        one_person=sorted(
            path
            for path in listed.keys() | present
            if path.startswith("FakeVideo-") and len(_identities(path, listed.get(path, []))) < 2
        ),
        made_here={folder: len(paths) for folder, paths in found.items() if folder not in tabled and paths},
    )
    clips = {path for paths in found.values() for path in paths} | {TABLE}
    result.others = {
        path: reason or "no media file in a tier folder" for path, reason in files.all.items() if path not in clips
    }
    _place(result, listed.keys() - present, present - listed.keys())
    if released:
        result.counts = _unlike_release(result)
    return result


def _place(result: Comparison, absent: set[str], unlisted: set[str]) -> None:
    """Pair absent files with unlisted ones of the same identity folder and name; the rest is missing or extra."""
    elsewhere: dict[tuple[str, ...], list[str]] = {}
    for path in sorted(unlisted):
        elsewhere.setdefault(PurePosixPath(path).parts[-2:], []).append(path)
    for path in sorted(absent):
        places = elsewhere.get(PurePosixPath(path).parts[-2:])
        if places:
            result.wrong_folder[path] = places.pop(0)
        else:
            result.missing.append(path)
    result.extra = sorted(unlisted - set(result.wrong_folder.values()))


def _unlike_release(result: Comparison) -> list[str]:
    lines = [
        f"{folder}: {result.rows.get(folder, 0)} rows in {TABLE}, {number} in the release"
        for folder, number in ROWS.items()
        if result.rows.get(folder, 0) != number
    ]
    lines += [
        f"{name}: {n} rows in {TABLE}, a type that the release does not have"
        for name, n in result.rows.items()
        if name not in ROWS
    ]
    if len(result.twice) != TWICE:
        lines.append(f"{len(result.twice)} paths listed more than once, {TWICE} in the release")
    if len(result.paths) != FILES:
        lines.append(f"{len(result.paths)} files, {FILES} in the release")
    return lines


def _places(row: dict[str, str]) -> tuple[str, ...]:
    return row["type"], row.get("race", ""), row.get("gender", ""), row.get("source", "")


def _disagrees(path: str, row: dict[str, str]) -> bool:
    return PurePosixPath(path).parts[:-1] != _places(row)


def _identities(path: str, rows: list[dict[str, str]]) -> set[str]:
    """Return all identities in the folder, name and rows of a file."""
    texts = [path, *(row[key] for row in rows for key in ("source", "target1", "target2"))]
    return {found for text in texts for found in IDENTITY.findall(text)}
