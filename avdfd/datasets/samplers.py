"""Samplers of batches. A draw names an element and the seed of its augmentation, so an epoch is a function of
(seed, epoch) alone, whatever the number of loader processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from avdfd.core.errors import UserError
from avdfd.elements import Coded, ElementMeta, coded, fake_seconds, window_labels
from avdfd.splits.lists import take


def with_fakes(metas: Sequence[ElementMeta], min_fake: float, source: str) -> Sequence[ElementMeta]:
    """Return the windows to train on: those of real clips, and those of fake clips with enough fake seconds.

    A window has enough if its audio or its video is fake for `min_fake` seconds or more. Only training chooses by the
    truth about a window: validation and test have all of them. Raises UserError if no fake is left.
    """
    label = coded(metas, "label")
    of_fake = np.array(label.values, bool)[label.codes]
    kept = ~of_fake | (fake_seconds(metas).max(axis=1, initial=0.0) >= min_fake)
    if of_fake.any() and not (of_fake & kept).any():
        raise UserError(f"{source}: no training window of a fake has {min_fake:g} fake seconds; lower data.min_fake")
    return metas if kept.all() else take(metas, np.flatnonzero(kept))


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


class Epochs(Sampler[list[Draw]], ABC):
    """A training order that depends on the epoch; set `epoch` before iterating."""

    epoch = 0

    @abstractmethod
    def __len__(self) -> int:
        """Steps of an epoch."""


class Share(NamedTuple):
    """One process's samples of a batch, or of a micro-batch of it."""

    draws: list[Draw]
    """Equally many in every process: the last ones may be padding."""
    total: int
    """Samples of the micro-batch in all processes, without padding."""
    weight: float
    """Fraction of the batch's samples that are in this micro-batch."""
    last: bool
    """True for the last micro-batch of a step."""
    batch: list[Draw]
    """The whole batch of the step."""


class Shared(Sampler[list[Draw]]):
    """The batches of another sampler, divided among processes: process r has the samples r, r + size, r + 2 size ...

    With a `limit`, a process gets at most that many samples at once, and a step has several micro-batches. The steps
    before `first` are left out.
    """

    def __init__(
        self, order: "Epochs | Sequential", *, rank: int = 0, size: int = 1, limit: int = 0, first: int = 0
    ) -> None:
        self.order, self.rank, self.size, self.limit, self.first = order, rank, size, limit, first

    def start(self, epoch: int, first: int) -> None:
        """Set the epoch, and its first step."""
        if isinstance(self.order, Epochs):
            self.order.epoch = epoch
        self.first = first

    def __len__(self) -> int:
        """Remaining steps of the epoch."""
        return max(0, len(self.order) - self.first)

    def shares(self) -> Iterator[Share]:
        """Yield this process's share of every micro-batch."""
        for batch in islice(self.order, self.first, None):
            most = self.limit * self.size or len(batch)
            for start in range(0, len(batch), most):
                micro_batch = batch[start : start + most]
                each = -(-len(micro_batch) // self.size)
                own = micro_batch[self.rank :: self.size]
                draws = own + micro_batch[:1] * (each - len(own))
                yield Share(draws, len(micro_batch), len(micro_batch) / len(batch), start + most >= len(batch), batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        return (share.draws for share in self.shares())


class Shuffled(Epochs):
    """Every element once per epoch in random order; the last incomplete batch is kept.

    With `tiers`, those of the elements, an epoch has the same length but equally many elements of each tier: those of a
    small tier are repeated, some of a large one left out.
    """

    def __init__(self, length: int, batch_size: int, seed: int, *, tiers: Coded | None = None) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.tiers = tiers

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.length) if self.tiers is None else _balanced(self.tiers.codes, rng)
        for start in range(0, self.length, self.batch_size):
            batch = order[start : start + self.batch_size].tolist()
            if self.tiers is None:
                yield [Draw(i, (self.seed, self.epoch, i)) for i in batch]
            else:  # a repeated element has another place, and so another augmentation
                yield [Draw(i, (self.seed, self.epoch, i, place)) for place, i in enumerate(batch, start)]


def _balanced(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return N positions for codes (N,), the codes in turn; positions repeat only when all of a code are used."""
    members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    share = -(-len(codes) // len(members))
    per_code = [
        np.concatenate([rng.permutation(positions) for _ in range(-(-share // len(positions)))])[:share]
        for positions in members
    ]
    return np.stack(per_code, axis=1).reshape(-1)[: len(codes)]


class Paired(Epochs):
    """Pairs of a fake and a real window of the same identity or page, or any: `pairs` reals, then their fakes.

    Every fake comes once per epoch, and its partner is drawn from all real elements of its identity or page, or from
    all real elements. With `first_real` it is always the first one, as in the released code. With `balance` an epoch
    has the same number of fakes, but equally many of each tier. An incomplete last batch is dropped: a contrastive loss
    depends on the batch size.
    """

    def __init__(
        self,
        metas: Sequence[ElementMeta],
        pairs: int,
        seed: int,
        *,
        source: str,
        first_real: bool = False,
        balance: bool = False,
        by: Literal["identity", "page", "any"] = "identity",
    ) -> None:
        groups = coded(metas, "page" if by == "page" else "identities")
        numbers: dict[str, int] = {}
        names = ("" if by == "any" else value if by == "page" else value[0] for value in groups.values)
        group = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)[groups.codes]
        fake = window_labels(metas) == 1
        self.fakes = np.flatnonzero(fake)
        reals = np.flatnonzero(~fake)
        # The reals of a group are neighbours in `_reals`, from `_start` to `_end`.
        self._reals = reals[np.argsort(group[reals], kind="stable")]
        order = group[self._reals]
        self._start = np.searchsorted(order, group[self.fakes], "left")
        self._end = np.searchsorted(order, group[self.fakes], "right")
        alone = self.fakes[self._start == self._end]
        if len(alone):
            meta = metas[int(alone[0])]
            if by == "page":
                raise UserError(
                    f"{source}: no RVRA element of page '{meta.page}', the partner that fake clip {meta.source} needs; "
                    "add one, or set pair_by to identity"
                )
            raise UserError(
                f"{source}: no RVRA element of identity '{meta.identities[0]}', the partner that fake clip "
                f"{meta.source} needs; add the real clip, remove the identity from the list, or pair them otherwise by "
                "pair_by"
            )
        if len(self.fakes) < pairs:
            raise UserError(f"{source}: {len(self.fakes)} fake elements are fewer than optim.batch_size = {pairs}")
        if first_real:
            self._end = self._start + 1
        self._tiers = coded(metas, "tier").codes[self.fakes] if balance else None
        self.pairs = pairs
        self.seed = seed

    def __len__(self) -> int:
        return len(self.fakes) // self.pairs

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.fakes)) if self._tiers is None else _balanced(self._tiers, rng)
        for start in range(0, len(self) * self.pairs, self.pairs):
            chosen = order[start : start + self.pairs]
            reals = self._reals[rng.integers(self._start[chosen], self._end[chosen])].tolist()
            fakes = self.fakes[chosen].tolist()
            # A real may come twice in an epoch: its place in the order gives it another augmentation.
            places = chosen.tolist() if self._tiers is None else range(start, start + self.pairs)
            yield [Draw(p, (self.seed, self.epoch, p, i)) for p, i in zip(reals + fakes, [*places] * 2, strict=True)]
