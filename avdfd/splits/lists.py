"""Train, validation and test split: membership of identities, and the check that the splits are disjoint.

A split folder holds train.txt, validation.txt and test.txt with one identity per line; '#' starts a comment. A clip
list is a CSV with the columns split, identity, source: only these clips of these identities (avdfd/splits/draw.py). If
a split.json in its folder has the list's hash, the list must match it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import RunConfig
from avdfd.core.errors import UserError
from avdfd.core.text import decode, read_csv, read_json, read_names
from avdfd.elements import Coded, ElementMeta, ElementTable, coded, window_labels

SPLITS = ("train", "validation", "test")
CLIP_COLUMNS = ("split", "identity", "source")
SPLIT_JSON = "split.json"
OPENAVFF = "openavff"
"""Protocol of OpenAVFF's own lists, which have no test for pre-training."""
PUBLISHED = "mrdf_published"
"""Protocol of a list that is tested as its authors published it (avdfd/baselines/mrdf_folds.py)."""


_NAMED = 10  # identities in a sentence


class Lists(NamedTuple):
    """Split membership of identities."""

    path: str
    """Folder or file of the lists."""
    split_of: dict[str, str]
    """Identity -> split."""
    clips: frozenset[str] | None = None
    """Sources of the only clips to use; None = all clips."""
    published: bool = False
    """The main identity of a clip alone decides its split, and nothing is selected. The clips that thereby show
    identities of another split are counted by `shared_identities`."""

    def members(self, identities: Sequence[str]) -> Sequence[str]:
        """Return those identities of a clip that have to be in one split."""
        return identities[:1] if self.published else identities


def read_splits(path: str | Path) -> Lists:
    """Read a split folder or clip list.

    Raises UserError for a missing or empty list, an identity in two splits, and a list that was changed.
    """
    path = Path(path)
    return _read_clip_list(path) if path.suffix == ".csv" else _read_folder(path)


def _read_folder(folder: Path) -> Lists:
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        if not path.is_file():
            raise UserError(f"{path}: no such split list; a split folder has train.txt, validation.txt and test.txt")
        identities = read_names(path)
        if not identities:
            raise UserError(f"{path}: the list is empty; write one identity per line")
        for identity in identities:
            if split_of.setdefault(identity, split) != split:
                raise UserError(f"{path}: identity '{identity}' is also in {split_of[identity]}.txt; keep it in one")
    return Lists(str(folder), split_of)


def _read_clip_list(path: Path) -> Lists:
    if not path.is_file():
        raise UserError(f"{path}: no such clip list; data/preprocessing/make_splits.py makes them")
    data = path.read_bytes()
    _check_hash(path, data)
    columns, rows = read_csv(path, decode(data, path, "a clip list"))
    if tuple(columns) != CLIP_COLUMNS:
        raise UserError(f"{path}: its columns are {columns}; a clip list has {', '.join(CLIP_COLUMNS)}")
    split_of: dict[str, str] = {}
    sources = set()
    for number, row in rows:
        if row["split"] not in SPLITS or not row["identity"] or not row["source"]:
            raise UserError(f"{path}: line {number}: write {' or '.join(SPLITS)}, an identity and the path of a clip")
        if split_of.setdefault(row["identity"], row["split"]) != row["split"]:
            raise UserError(f"{path}: line {number}: identity '{row['identity']}' is in two splits; keep it in one")
        sources.add(row["source"])
    facts = read_split_json(path)
    if facts.get("protocol") == PUBLISHED:
        split_of = {**dict.fromkeys(facts.get("trained_on", ()), "train"), **split_of}
        return Lists(str(path), split_of, frozenset(sources), published=True)
    absent = [split for split in SPLITS if split not in split_of.values()]
    if absent and not (facts.get("protocol") == OPENAVFF and absent == ["test"]):
        raise UserError(f"{path}: has no identities for {absent[0]}; make the list again")
    return Lists(str(path), split_of, frozenset(sources))


def read_split_json(path: str | Path) -> dict[str, Any]:
    """Return the split.json of a clip list's folder, which describes its protocol; empty if there is none."""
    path = Path(path)
    facts = path.parent / SPLIT_JSON
    return read_json(facts) if path.suffix == ".csv" and facts.is_file() else {}


def _check_hash(path: Path, data: bytes) -> None:
    known = read_split_json(path).get("lists", {}).get(path.name)
    if known and known["sha256"] != hashlib.sha256(data).hexdigest():
        facts = path.parent / SPLIT_JSON
        raise UserError(
            f"{path}: does not have the hash that {facts} states; make the lists again, or remove {SPLIT_JSON}"
        )


def assign(metas: Sequence[ElementMeta], lists: Lists) -> dict[str, list[int]]:
    """Return the positions of the elements of each split. Elements whose identities no list names are left out.

    Raises UserError if an identity, a source clip or a file would be in two splits, and for a clip list that names
    identities or clips without elements.
    """
    sources, identities = coded(metas, "source"), coded(metas, "identities")
    if lists.clips is not None:
        _check_known(sources, identities, lists, lists.clips)
    identities = identities._replace(values=[lists.members(named) for named in identities.values])
    groups = [{lists.split_of[i] for i in named if i in lists.split_of} for named in identities.values]
    split_of_group = np.array([SPLITS.index(min(group)) if group else -1 for group in groups], np.int64)
    split_of = split_of_group[identities.codes]
    if lists.clips is not None:
        listed = np.array([source in lists.clips for source in sources.values], bool)
        split_of = np.where(listed[sources.codes], split_of, -1)
    torn = np.array([len(group) > 1 for group in groups], bool)[identities.codes] & (split_of >= 0)
    if torn.any():
        meta = metas[int(np.argmax(torn))]
        named = sorted({lists.split_of[i] for i in meta.identities if i in lists.split_of})
        raise UserError(
            f"{lists.path}: clip {meta.source} has the identities {' and '.join(meta.identities)}, which are in "
            f"{' and '.join(named)}; put them in one split or remove the clip"
        )
    _check_disjoint(metas, identities, split_of, lists.path)
    return {split: np.flatnonzero(split_of == number).tolist() for number, split in enumerate(SPLITS)}


def take(metas: Sequence[ElementMeta], positions: Sequence[int] | np.ndarray) -> Sequence[ElementMeta]:
    """Return the elements at these positions."""
    return metas.take(positions) if isinstance(metas, ElementTable) else [metas[i] for i in positions]


def of_tiers(metas: Sequence[ElementMeta], tiers: Collection[str]) -> Sequence[ElementMeta]:
    """Return the elements of these tiers."""
    tier = coded(metas, "tier")
    return take(metas, np.flatnonzero(np.array([name in tiers for name in tier.values], bool)[tier.codes]))


def without_elements(metas: Sequence[ElementMeta], lists: Lists) -> str:
    """Return a sentence about the identities in a split folder that no element has; empty if all have one.

    Those of a clip list are an error of `assign`.
    """
    if lists.clips is not None:
        return ""
    present = {identity for group in coded(metas, "identities").values for identity in group}
    absent = [f"{identity} ({split})" for identity, split in lists.split_of.items() if identity not in present]
    if not absent:
        return ""
    named = ", ".join(absent[:_NAMED]) + (f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else "")
    return f"{lists.path}: {len(absent)} of {len(lists.split_of)} identities have no elements: {named}"


def _check_known(sources: Coded, identities: Coded, lists: Lists, clips: frozenset[str]) -> None:
    """Raise UserError if identities or clips of a clip list have no elements.

    Without some of its clips, results would not be those of the protocol.
    """
    present = {identity for group in identities.values for identity in group}
    named = set() if lists.published else lists.split_of.keys()
    for what, unknown in (
        ("identities", sorted(named - present)),
        ("clips", sorted(clips.difference(sources.values))),
    ):
        if unknown:
            raise UserError(
                f"{lists.path}: names {len(unknown)} {what} without elements, e.g. '{unknown[0]}'; preprocess them, "
                "or make the lists again from these elements"
            )


def check_classes(
    metas: Sequence[ElementMeta], split: str, source: str, *, fakes: bool = True, among: Sequence[ElementMeta] = ()
) -> None:
    """Raise UserError unless there are real clips and, if `fakes`, fake ones, and likewise windows.

    `among` are the elements of all tiers, which the message names.
    """
    label, tier = coded(metas, "label"), coded(among, "tier")
    of_clips = {label.values[code] for code in np.unique(label.codes)}
    present = sorted(tier.values[code] for code in np.unique(tier.codes))
    others = f" (it has {', '.join(present)})" if present else ""
    for what, labels in ("elements", of_clips), ("windows", {*np.unique(window_labels(metas)).tolist()}):
        if labels == ({0, 1} if fakes else {0}):
            continue
        has = "only real" if labels == {0} else "only fake" if labels == {1} else "no"
        raise UserError(
            f"{source}: split '{split}' has {has} {what} of the wanted tiers{others}; check the tiers, make the lists "
            "from these elements by make_splits.py, or add clips of other identities"
        )


def _check_disjoint(metas: Sequence[ElementMeta], identities: Coded, split_of: np.ndarray, source: str) -> None:
    """Raise UserError for an identity, source clip or file in two splits; `split_of` (N,) is -1 for no split."""
    seen: dict[str, set[str]] = defaultdict(set)
    for group, splits in zip(identities.values, _splits_of(identities, split_of), strict=True):
        for identity in group:
            seen[identity] |= splits
    clips, files = coded(metas, "base"), coded(metas, "sha256")
    for what, values, found in (
        ("identity", [*seen], [*seen.values()]),
        ("source clip", clips.values, _splits_of(clips, split_of)),
        ("file with sha256", files.values, _splits_of(files, split_of)),
    ):
        for value, splits in zip(values, found, strict=True):
            if len(splits) > 1:
                where = " and ".join(sorted(splits))
                raise UserError(f"{source}: {what} '{value}' is in {where}; keep it in one split")


def _splits_of(field: Coded, split_of: np.ndarray) -> list[set[str]]:
    """Return the set of splits of each value of a field."""
    bits = np.zeros(len(field.values), np.int64)
    inside = split_of >= 0
    np.bitwise_or.at(bits, field.codes[inside], 1 << split_of[inside])
    sets = [{split for number, split in enumerate(SPLITS) if mask >> number & 1} for mask in range(8)]
    return [sets[mask] for mask in bits.tolist()]


def check_unseen(config: RunConfig, metas: Sequence[ElementMeta], split: str) -> None:
    """Raise UserError if a run was trained or selected on an identity of the elements to be scored.

    `split` is theirs; "all" counts as test, and elements of the run's own train split may be scored as "train".
    """
    seen = {"train": (), "validation": ("train",)}.get(split, ("train", "validation"))
    lists = read_splits(config.data.splits)
    identities = coded(metas, "identities")
    for code in np.unique(identities.codes):
        for identity in lists.members(identities.values[code]):
            if lists.split_of.get(identity) in seen:
                raise UserError(
                    f"run '{config.name}': identity '{identity}' of the {split} elements is in its "
                    f"{lists.split_of[identity]} list ({config.data.splits}); score it on identities that it has not "
                    "seen"
                )


def shared_identities(metas: Sequence[ElementMeta], lists: Lists) -> tuple[int, int]:
    """Return the number of clips that show an identity of the training list, and the number of all clips."""
    identities, sources = coded(metas, "identities"), coded(metas, "source")
    seen = np.array([any(lists.split_of.get(i) == "train" for i in named) for named in identities.values], bool)
    return len(np.unique(sources.codes[seen[identities.codes]])), len(np.unique(sources.codes))
