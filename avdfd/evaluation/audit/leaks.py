"""Leaks: people, source clips and copies that are in two splits, so that a test is partly of what was trained on."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from avdfd.corpora.duplicates import find_duplicates
from avdfd.evaluation.audit.elements import Look

_EXAMPLES = 4


class Leak(NamedTuple):
    """Something in more than one split."""

    kind: str
    """identity, source clip, or by what clips are copies: bytes, picture+sound, picture, sound."""
    what: str
    splits: list[str]
    clips: list[str]
    """A few of them, at least one of each split."""


def find_leaks(parts: Mapping[str, Sequence[Look]]) -> list[Leak]:
    """All that crosses between parts, by name and, for copies under other names, by fingerprint of picture and sound.

    A picture or a sound is compared over the first window of a clip. Copies that were cut elsewhere, mirrored or
    played at another speed are not found.
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
