"""Strata of identities, and their random distribution so that every split gets its share of each stratum."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from avdfd.core.clips import UNKNOWN, ClipMeta

Part = TypeVar("Part")
_ROUNDING = 1e-9


class Stratum(NamedTuple):
    """Properties shared by the identities that are drawn together."""

    race: str
    gender: str
    kinds: tuple[str, ...]
    """Kinds of the clips whose main identity they are; empty if they only appear in clips of others."""


def strata_of(clips: Iterable[ClipMeta], kind: Callable[[ClipMeta], str]) -> dict[str, Stratum]:
    """Return the stratum of each identity in the clips. Race and gender of a clip are those of its main identity."""
    races, genders, kinds = defaultdict(set), defaultdict(set), defaultdict(set)
    identities: set[str] = set()
    for clip in clips:
        identities.update(clip.identities)
        for identity in clip.identities[:1]:
            races[identity].add(clip.race)
            genders[identity].add(clip.gender)
            kinds[identity].add(kind(clip))
    return {
        identity: Stratum(_known(races[identity]), _known(genders[identity]), tuple(sorted(kinds[identity])))
        for identity in sorted(identities)
    }


def deal(stratum_of: Mapping[str, Stratum], shares: Mapping[Part, float], rng: np.random.Generator) -> dict[str, Part]:
    """Assign identities to parts at random. A part gets its share of every stratum, up to one identity.

    Remainders go to the parts that lack most so far, so that all strata together have the right shares, too.
    """
    members: dict[Stratum, list[str]] = defaultdict(list)
    for identity, stratum in sorted(stratum_of.items()):
        members[stratum].append(identity)
    whole = sum(shares.values())
    part_of: dict[str, Part] = {}
    lacking = dict.fromkeys(shares, 0.0)
    for _, identities in sorted(members.items()):
        exact = {part: len(identities) * share / whole for part, share in shares.items()}
        counts = {part: int(number + _ROUNDING) for part, number in exact.items()}
        open_parts = [part for part, number in exact.items() if number - counts[part] > _ROUNDING]
        for part in open_parts:
            lacking[part] += exact[part] - counts[part]
        rest = len(identities) - sum(counts.values())
        for part in sorted(open_parts, key=lambda part: -lacking[part])[:rest]:
            counts[part] += 1
            lacking[part] -= 1
        order = iter(rng.permutation(identities).tolist())
        for part, count in counts.items():
            part_of.update((next(order), part) for _ in range(count))
    return part_of


def _known(values: set[str]) -> str:
    """Return the smallest value; "unknown" only if there is no other."""
    return min(values - {UNKNOWN}, default=UNKNOWN)
