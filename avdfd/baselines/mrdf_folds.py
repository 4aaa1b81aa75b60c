"""The authors' fold lists of MRDF, `train_1.txt` to `train_5.txt`, which lie beside FakeAVCeleb's meta_data.csv.

A list is a header line and then one identity per line: those that the checkpoint of the fold was trained on. The clips
are rows of meta_data.csv. Of each of its categories A to D, the first 400 whose source is listed are trained on, and
the first 100 of the others are tested. The source of a row counts, not the identities of swapped faces and borrowed
voices, so that many published test clips show an identity of the training list.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from avdfd.core.clips import AUDIO_SUFFIXES, IDENTITY, SUFFIXES
from avdfd.core.errors import UserError
from avdfd.core.text import read_text
from avdfd.corpora.fakeavceleb import TABLE, row_path
from avdfd.corpora.tables import read_table
from avdfd.elements import ElementMeta, coded
from avdfd.splits.files import SplitList, SplitRow

CATEGORIES = ("A", "B", "C", "D")
TRAINED, TESTED = 400, 100
"""Largest number of clips of a category."""


class TrainingList(NamedTuple):
    """Content of a `train_N.txt`."""

    identities: tuple[str, ...]
    skipped: str | None
    """Identity in the first line, which the released code takes for a header; None if it is one."""


class Fold(NamedTuple):
    """A published fold as clips of a store."""

    trained_on: TrainingList
    clips: SplitList
    """All test clips, and the training clips that the store has."""


def read_training_list(path: Path) -> TrainingList:
    """Read a `train_N.txt`. Raises UserError if it is missing, or if a line after the first names no identity."""
    if not path.is_file():
        raise UserError(f"{path}: no such list; the authors publish train_1.txt to train_5.txt")
    named: dict[str, None] = {}
    first, *lines = read_text(path).splitlines() or [""]
    for number, line in enumerate(lines, start=2):
        identity = IDENTITY.match(line.strip().strip('"'))
        if identity:
            named[identity.group()] = None
        elif line.strip():
            raise UserError(f"{path}: line {number} '{line.strip()[:40]}' does not start with an identity like id00076")
    if not named:
        raise UserError(f"{path}: names no identity; it has a header line and then one identity per line")
    skipped = IDENTITY.match(first.strip())
    alone = skipped.group() if skipped and skipped.group() not in named else None
    return TrainingList(tuple(named), alone)


def read_training_lists(folder: Path) -> dict[int, TrainingList]:
    """Read all `train_N.txt` of a folder, by number. Raises UserError if there is none."""
    files = {path.stem.removeprefix("train_"): path for path in folder.glob("train_*.txt")}
    lists = {int(number): read_training_list(files[number]) for number in sorted(files) if number.isdecimal()}
    if not lists:
        raise UserError(f"{folder}: has no train_1.txt to train_5.txt, the authors' fold lists")
    return lists


def published_fold(path: Path, metas: Sequence[ElementMeta]) -> Fold:
    """Return the fold of an authors' list.

    Raises UserError for a wrong list, if there is no meta_data.csv beside it, and if a test clip has no elements.
    """
    trained_on, table = read_training_list(path), path.parent / TABLE
    if not table.is_file():
        raise UserError(
            f"{table}: no such table; put FakeAVCeleb's {TABLE} beside {path.name}: its first {TESTED} clips of each "
            "category whose source is not listed are the test"
        )
    rows = read_table(table, ("source", "category", "path"))
    unknown = sorted({*trained_on.identities} - {row["source"] for row in rows})
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} of its {len(trained_on.identities)} identities are no source in {table}, e.g. "
            f"'{unknown[0]}'; take the table and the list of the same data set"
        )
    stored = {_plain(source): source for source in coded(metas, "source").values}
    chosen = {split: [*_chosen(rows, trained_on, split)] for split in ("train", "test")}
    if not chosen["test"]:
        raise UserError(f"{path}: lists every source of {table}; no clip is left for the test")
    absent = [source for _, source in chosen["test"] if _plain(source) not in stored]
    if absent:
        raise UserError(
            f"{path}: {len(absent)} of its {len(chosen['test'])} test clips have no elements, e.g. '{absent[0]}'; "
            f"preprocess them, or take out of {TABLE} those that quarantine.csv lists"
        )
    present = [
        SplitRow(split, identity, stored[_plain(source)])
        for split, pairs in chosen.items()
        for identity, source in pairs
        if _plain(source) in stored
    ]
    return Fold(trained_on, SplitList([*dict.fromkeys(present)]))


def _chosen(rows: Sequence[dict[str, str]], trained_on: TrainingList, split: str) -> Iterator[tuple[str, str]]:
    """Yield identity and path of the clips of a split, in the order of the table's rows."""
    listed, most = {*trained_on.identities}, TRAINED if split == "train" else TESTED
    own = [row for row in rows if (row["source"] in listed) == (split == "train")]
    for category in CATEGORIES:
        for row in [row for row in own if row["category"] == category][:most]:
            yield row["source"], _path(row)


def _path(row: dict[str, str]) -> str:
    """Return the path of a row's clip, relative to the root of the data set.

    The authors' table has file and folder in `vid` and `path`, whichever way; FakeAVCeleb's has the file in `path`.
    The suffix only tells a file's name from a folder's: there are no files beside the table whose content could.
    """
    if "vid" not in row:
        return row_path(row)
    names = [row["vid"], row["path"]]
    file = next((name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES | AUDIO_SUFFIXES), names[0])
    names.remove(file)
    return row_path({**row, "path": file, "": names[0]})


def _plain(source: str) -> str:
    """Return a path without the brackets of races, which the authors' own preprocessing replaces."""
    return source.replace(" (", "-").replace(")", "")
