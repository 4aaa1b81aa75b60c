"""Pairs of clips of different identities that swap their audio.

In a swap every audio and every video is once in a clip of its own and once in a changed one. A score that depends on
one stream alone therefore has an AUC of exactly 0.5, whatever the voices and faces are.
"""

from collections.abc import Hashable, Sequence

import numpy as np


def swaps(
    groups: Sequence[Hashable], identities: Sequence[frozenset[str]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw pairs of clips of one group that have no identity in common, each clip at most once.

    Both arguments are (N,). A clip for which no partner is left has no pair in this draw.
    """
    order = rng.permutation(len(groups)).tolist()
    pairs: list[tuple[int, int]] = []
    waiting: dict[Hashable, list[int]] = {}
    for clip in order:
        others = waiting.setdefault(groups[clip], [])
        for place, other in enumerate(others):
            if not identities[clip] & identities[other]:
                pairs.append((other, clip))
                del others[place]
                break
        else:
            others.append(clip)
    return pairs
