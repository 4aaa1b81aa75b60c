"""Train / validation / test: identity lists, and the check that nothing crosses between them.

A split folder holds train.txt, validation.txt and test.txt with one identity per line; '#' starts a comment.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from avdfd.elements import ElementMeta
from avdfd.errors import UserError

SPLITS = ("train", "validation", "test")


def read_splits(folder: str | Path) -> dict[str, str]:
    """Identity -> split. Raises UserError for a missing or empty list and for an identity in two of them."""
    folder = Path(folder)
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        if not path.is_file():
            raise UserError(f"{path}: no such split list; a split folder has train.txt, validation.txt and test.txt")
        lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
        identities = [line for line in lines if line]
        if not identities:
            raise UserError(f"{path}: the list is empty; write one identity per line")
        for identity in identities:
            if split_of.setdefault(identity, split) != split:
                raise UserError(f"{path}: identity '{identity}' is also in {split_of[identity]}.txt; keep it in one")
    return split_of


def assign(metas: Sequence[ElementMeta], split_of: dict[str, str], source: str) -> dict[str, list[int]]:
    """Split -> positions of its elements. Elements of identities that no list names are left out.

    Raises UserError when an identity, a source clip or a file would be in two splits.
    """
    members: dict[str, list[int]] = {split: [] for split in SPLITS}
    for position, meta in enumerate(metas):
        named = {split_of[i] for i in meta.identities if i in split_of}
        if len(named) > 1:
            raise UserError(
                f"{source}: clip {meta.source} shows {' and '.join(meta.identities)}, which are in "
                f"{' and '.join(sorted(named))}; put them in one split or remove the clip"
            )
        for split in named:
            members[split].append(position)
    _check_disjoint(metas, members, source)
    return members


def check_classes(metas: Sequence[ElementMeta], split: str, source: str) -> None:
    """Raises UserError unless both real and fake elements are there."""
    labels = {meta.label for meta in metas}
    if labels != {0, 1}:
        has = "only real" if labels == {0} else "only fake" if labels == {1} else "no"
        raise UserError(
            f"{source}: split '{split}' has {has} elements of the wanted tiers; check the lists, the tiers and that "
            "data/preprocess.py has run"
        )


def _check_disjoint(metas: Sequence[ElementMeta], members: dict[str, list[int]], source: str) -> None:
    """Raises UserError for the first identity, source clip or file that is in two splits."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for split, positions in members.items():
        for meta in (metas[position] for position in positions):
            named = [("identity", identity) for identity in meta.identities]
            for thing in (*named, ("source clip", meta.base), ("file with sha256", meta.sha256)):
                seen[thing].add(split)
    for (what, value), splits in seen.items():
        if len(splits) > 1:
            raise UserError(f"{source}: {what} '{value}' is in {' and '.join(sorted(splits))}; keep it in one split")
