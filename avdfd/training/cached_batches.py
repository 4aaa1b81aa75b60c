"""Training of stage 2 on what its frozen parts have computed before, wherever that is kept.

B batch   N visual tokens   W width of the backbone   A audio tokens   D width of the audio branch

home     where the rows are                            a batch is
gpu      in the memory of the GPU, of every process    gathered there
memory   in the files, all of which fit into memory    copied in the background; all processes share the memory
disk     in the files                                  read ahead of its turn, and copied in the background
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from avdfd.config import TrainConfig
from avdfd.core import tiers
from avdfd.core.errors import EndedBySignal
from avdfd.core.signals import Stop
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.residency import Place, Resident, choose
from avdfd.datasets.samplers import Share, Shared
from avdfd.elements import ElementStore, ElementTable
from avdfd.models.detector import Detector, Encoded
from avdfd.training import backbone_cache
from avdfd.training.array_store import BLOCK, Columns
from avdfd.training.distributed import World
from avdfd.training.run_folder import RunFolder

_AHEAD = 3  # batches that are read before their turn
_MEASURED = 64  # rows
_HOMES: dict[Place, str] = {"gpu": "the memory of the GPU", "memory": "memory", "disk": "files"}


class EncodedBatch(NamedTuple):
    """What the detector takes up of B clips, and their labels."""

    encoded: Encoded
    """In float32, on the device."""
    label: Tensor
    """(B,) float, 1 = fake."""
    parts: Tensor
    """(B, 2) float, likewise of the sound and of the pictures; both, where it is not known which of them."""


class EncodedFeed:
    """Iterating gives the batches of the epoch at which `order` is, each with its share."""

    def __init__(
        self, columns: Columns, metas: ElementTable, order: Shared, device: torch.device, *, place: Place = "disk"
    ) -> None:
        self.columns, self.order, self.device, self.place = columns, order, device, place
        self.rows = torch.from_numpy(metas.rows)
        tier = metas.coded("tier")
        known, codes = [tiers.tier(name) for name in tier.values], torch.from_numpy(tier.codes).long()
        self._label = torch.tensor([float(t.label) for t in known])[codes].to(device)
        self._parts = torch.tensor([t.parts for t in known], dtype=torch.float32)[codes].to(device)
        files = Resident(Encoded(*(columns.column(name) for name in Encoded._fields)), device)
        self._kept, self._index = files, self.rows
        if place == "gpu":
            row = Encoded(*(x[0] for x in files.columns))
            self._kept, self._index = Resident.empty(row, len(metas), place, device), torch.arange(len(metas))
            for positions in self._index.split(BLOCK):
                self._kept.put(positions, files.take(self.rows[positions]))
        elif place == "memory":
            columns.load(metas.rows)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Share, EncodedBatch]]:
        if self.place == "gpu":
            return ((share, self.take(_positions(share))) for share in self.order.shares())
        return self._in_the_background()

    def __str__(self) -> str:
        return f"{len(self.rows)} encoded clips in {_HOMES[self.place]}"

    def take(self, positions: Sequence[int]) -> EncodedBatch:
        """The batch of the elements at these positions."""
        index = torch.tensor(positions)
        encoded = self._kept.take(self._index[index])
        index = index.to(self.device)
        return EncodedBatch(encoded._replace(tokens=encoded.tokens.float()), self._label[index], self._parts[index])

    def rate(self) -> float:
        """Clips a second that come out of their home, for some rows in random order."""
        positions = np.random.default_rng(0).permutation(len(self.rows))[:_MEASURED]
        if self.place == "disk":
            self.columns.drop(self.rows.numpy()[positions])  # they may have been written a moment ago
        self._announce(positions.tolist())
        first, *rest = (part.tolist() for part in np.array_split(positions, min(4, len(positions))))
        float(self.take(first).label.sum())  # buffers are made, and a GPU has ended its work
        started = time.monotonic()
        for some in rest:
            batch = self.take(some)
        float(batch.encoded.logit_audio.sum())
        return (len(positions) - len(first)) / (time.monotonic() - started)

    def _in_the_background(self) -> Iterator[tuple[Share, EncodedBatch]]:
        coming: deque[tuple[Share, Future[EncodedBatch]]] = deque()
        with ThreadPoolExecutor(1) as reader:
            for share in self.order.shares():
                self._announce(_positions(share))
                coming.append((share, reader.submit(self.take, _positions(share))))
                if len(coming) > _AHEAD:
                    share, batch = coming.popleft()
                    yield share, batch.result()
            for share, batch in coming:
                yield share, batch.result()

    def _announce(self, positions: Sequence[int]) -> None:
        if self.place == "disk":
            self.columns.will_need(self.rows.numpy()[positions])


def _positions(share: Share) -> list[int]:
    return [draw.position for draw in share.draws]


def feeds(
    cfg: TrainConfig, world: World, run: RunFolder, stop: Stop, model: Detector, *sets: tuple[ElementSet, Shared]
) -> list[EncodedFeed]:
    """A feed for each of some sets with its order; what has not been computed yet is computed first.

    Says what it takes, and whether it pays. Raises UserError as `frozen.fill` and `resident.choose` do, and
    EndedBySignal if a signal came; then it goes on from there the next time.
    """
    tables = [elements.metas for elements, _ in sets if isinstance(elements.metas, ElementTable)]
    store, inputs = sets[0][0].store, sets[0][0].inputs
    assert isinstance(store, ElementStore), "stage 2 is trained on element stores"
    assert isinstance(inputs, Inputs), "stage 2 has these inputs"
    encoder = backbone_cache.Encoder(model, inputs, cfg.optim.precision, world.device)
    columns = backbone_cache.open_columns(store, encoder)
    rows = np.unique(np.concatenate([table.rows for table in tables]))
    missing = len(columns.missing(rows))
    size = len(rows) * columns.row_bytes
    run.announce(
        f"cache: what frozen parts compute of {len(rows)} clips without augmentation, {columns.row_bytes / 1e6:.2f} MB "
        f"each and {size / 1e9:.2f} GB in all; {missing} are missing; {columns.root}",
    )
    with tqdm(total=missing, desc="cache", unit="clip", leave=False, disable=not world.first) as bar:

        def advance(count: int) -> None:
            bar.update(count)
            if stop.asked:
                raise EndedBySignal(f"{columns.root}: what is computed is kept; run it again with --resume to go on")

        backbone_cache.fill(columns, rows, store, encoder, workers=cfg.data.workers, advance=advance)
    place = choose(cfg.data.home, size, world.device)
    made = [
        EncodedFeed(columns, table, order, world.device, place=place)
        for table, (_, order) in zip(tables, sets, strict=True)
    ]
    if world.first:
        run.announce(f"cache: {_verdict(columns, place, made[0].rate())}")
    return made


def _verdict(columns: Columns, place: Place, read: float) -> str:
    """Whether reading is faster than computing."""
    computed = columns.about().get("computed")
    line = f"read from {_HOMES[place]} at {read:,.1f} clips/s"
    if computed is None:
        return line
    rate = computed["clips_per_second"]
    better = "reading pays" if read > rate else "computing is faster: set cache to false"
    return f"{line}, computed at {rate:,.1f} on the {computed['device']}: {better}"
