"""People of one kind, and how they are dealt out so that every part has its share of each kind."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from avdfd.core.clips import UNKNOWN, ClipMeta

Part = TypeVar("Part")
_ROUNDING = 1e-9


class Stratum(NamedTuple):
    """What people have in common who are drawn side by side."""

    race: str
    gender: str
    kinds: tuple[str, ...]
    """Kinds of clips that are theirs; none for people who are only seen or heard in clips of others."""


def strata_of(clips: Iterable[ClipMeta], kind: Callable[[ClipMeta], str]) -> dict[str, Stratum]:
    """Everybody in the clips -> stratum. The race and gender of a clip are those of the first person it names."""
    races, genders, kinds = defaultdict(set), defaultdict(set), defaultdict(set)
    people: set[str] = set()
    for clip in clips:
        people.update(clip.identities)
        for person in clip.identities[:1]:
            races[person].add(clip.race)
            genders[person].add(clip.gender)
            kinds[person].add(kind(clip))
    return {
        person: Stratum(_known(races[person]), _known(genders[person]), tuple(sorted(kinds[person])))
        for person in sorted(people)
    }


def deal(stratum_of: Mapping[str, Stratum], shares: Mapping[Part, float], rng: np.random.Generator) -> dict[str, Part]:
    """Person -> part, at random. A part gets its share of every stratum, to within one person.

    What rounding leaves over goes to the parts that lack most so far, so that the parts as a whole get their shares.
    """
    members: dict[Stratum, list[str]] = defaultdict(list)
    for person, stratum in sorted(stratum_of.items()):
        members[stratum].append(person)
    whole = sum(shares.values())
    part_of: dict[str, Part] = {}
    lacking = dict.fromkeys(shares, 0.0)
    for _, people in sorted(members.items()):
        exact = {part: len(people) * share / whole for part, share in shares.items()}
        counts = {part: int(number + _ROUNDING) for part, number in exact.items()}
        open_parts = [part for part, number in exact.items() if number - counts[part] > _ROUNDING]
        for part in open_parts:
            lacking[part] += exact[part] - counts[part]
        rest = len(people) - sum(counts.values())
        for part in sorted(open_parts, key=lambda part: -lacking[part])[:rest]:
            counts[part] += 1
            lacking[part] -= 1
        order = iter(rng.permutation(people).tolist())
        for part, count in counts.items():
            part_of.update((next(order), part) for _ in range(count))
    return part_of


def _known(values: set[str]) -> str:
    """One of the values, the same whatever their order; "unknown" only if there is no other."""
    return min(values - {UNKNOWN}, default=UNKNOWN)
