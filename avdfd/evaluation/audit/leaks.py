"""Leaks: identities, source clips and near-duplicates that are in two splits, so that a test repeats training data."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from avdfd.corpora.duplicates import find_duplicates
from avdfd.evaluation.audit.elements import Look

_EXAMPLES = 4


class Leak(NamedTuple):
    """An identity, source clip or group of near-duplicates in more than one split."""

    kind: str
    """identity, source clip, or what the near-duplicates share: bytes, picture+sound, picture, sound."""
    what: str
    splits: list[str]
    clips: list[str]
    """A few examples, at least one from each split."""


def find_leaks(parts: Mapping[str, Sequence[Look]]) -> list[Leak]:
    """Return what the parts share, by name and, for near-duplicates under other names, by fingerprint.

    Fingerprints of frames and audio cover the first window of a clip. Near-duplicates that were cut elsewhere,
    mirrored or played at another speed are not found.
    """
    looks = [(split, look) for split, members in parts.items() for look in members]
    return [*_by_name(looks), *_copies(looks)]


def _by_name(looks: Sequence[tuple[str, Look]]) -> Iterator[Leak]:
    places: dict[tuple[str, str], list[tuple[str, Look]]] = defaultdict(list)
    for split, look in looks:
        for identity in look.clip.identities:
            places["identity", identity].append((split, look))
        places["source clip", look.clip.base].append((split, look))
    for (kind, what), members in places.items():
        if len({split for split, _ in members}) > 1:
            yield _leak(kind, what, members)


def _copies(looks: Sequence[tuple[str, Look]]) -> Iterator[Leak]:
    for match, positions in find_duplicates([look for _, look in looks]):
        members = [looks[position] for position in positions]
        if len({split for split, _ in members}) > 1:
            yield _leak(match, f"{len(members)} copies", members)


def _leak(kind: str, what: str, members: Sequence[tuple[str, Look]]) -> Leak:
    first_of_each = {split: look.source for split, look in reversed(members)}
    others = (look.source for _, look in members)
    named = list(dict.fromkeys([*reversed(first_of_each.values()), *others]))
    return Leak(kind, what, sorted(first_of_each), named[:_EXAMPLES])
