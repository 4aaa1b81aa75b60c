"""Which elements form a batch. A draw names the element and the seed of its augmentation, so that an epoch is a
function of (seed, epoch) alone, whatever the number of loader processes.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from avdfd.elements import ElementMeta
from avdfd.errors import UserError


class Draw(NamedTuple):
    """One element of a batch."""

    position: int
    seed: tuple[int, ...] | None
    """Seed of the augmentation; None for no augmentation."""


class Sequential(Sampler[list[Draw]]):
    """Every element once, in order, without augmentation: validation and test."""

    def __init__(self, length: int, batch_size: int) -> None:
        self.length = length
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in range(0, self.length, self.batch_size):
            yield [Draw(i, None) for i in range(start, min(start + self.batch_size, self.length))]


class Epochs(Sampler[list[Draw]]):
    """A training order that depends on the epoch; set `epoch` before iterating."""

    epoch = 0


class Shuffled(Epochs):
    """Every element once per epoch in random order; the last incomplete batch is kept."""

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length).tolist()
        for start in range(0, self.length, self.batch_size):
            yield [Draw(i, (self.seed, self.epoch, i)) for i in order[start : start + self.batch_size]]


class Paired(Epochs):
    """Pairs every fake with a real element of the same identity: batches of `pairs` reals, then their fakes.

    Every fake comes once per epoch; its partner is drawn anew from all real elements of the identity. With
    `first_real` it is always the first one, as in the released code. An incomplete last batch is dropped, as a
    contrastive loss depends on the batch size.
    """

    def __init__(
        self, metas: Sequence[ElementMeta], pairs: int, seed: int, *, source: str, first_real: bool = False
    ) -> None:
        reals: dict[str, list[int]] = defaultdict(list)
        for position, meta in enumerate(metas):
            if not meta.label:
                reals[meta.identities[0]].append(position)
        self.fakes = [i for i, meta in enumerate(metas) if meta.label]
        for i in self.fakes:
            if metas[i].identities[0] not in reals:
                raise UserError(
                    f"{source}: no RVRA element of identity '{metas[i].identities[0]}', the partner that fake clip "
                    f"{metas[i].source} needs; add the real clip or take the identity off the list"
                )
        if len(self.fakes) < pairs:
            raise UserError(f"{source}: {len(self.fakes)} fake elements are fewer than optim.batch_size = {pairs}")
        self.partners = [reals[metas[i].identities[0]][: 1 if first_real else None] for i in self.fakes]
        self.pairs = pairs
        self.seed = seed

    def __len__(self) -> int:
        return len(self.fakes) // self.pairs

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.fakes))
        for start in range(0, len(self) * self.pairs, self.pairs):
            chosen = order[start : start + self.pairs].tolist()
            reals = [int(rng.choice(self.partners[i])) for i in chosen]
            fakes = [self.fakes[i] for i in chosen]
            # A real may come twice in an epoch: its place in the order makes its augmentation another one.
            yield [Draw(p, (self.seed, self.epoch, p, i)) for p, i in zip(reals + fakes, chosen * 2, strict=True)]
