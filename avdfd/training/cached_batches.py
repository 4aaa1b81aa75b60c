"""Training batches of stage 2, and of baselines, read from pixels and audio or from the cache of frozen parts.

B batch   N visual tokens   W width of the backbone   A audio tokens   D width of the audio branch

home     cached rows are                               a batch is
gpu      in the memory of every process's GPU          gathered there
memory   in the files, all of which fit into memory    copied in the background; all processes share the memory
disk     in the files                                  read ahead, and copied in the background
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avdfd.config import DataConfig, TrainConfig
from avdfd.core import fields
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.core.progress import Bar
from avdfd.core.signals import Stop
from avdfd.core.tiers import AUDIO_CLASS
from avdfd.datasets.background import in_background
from avdfd.datasets.batches import Batches, open_batches
from avdfd.datasets.loaders import Batch, ElementSet, Inputs
from avdfd.datasets.residency import Place, Resident, choose
from avdfd.datasets.samplers import Share, Shared
from avdfd.elements import ElementStore, ElementTable, fake_seconds
from avdfd.training import backbone_cache
from avdfd.training.array_store import BLOCK, ArrayStore
from avdfd.training.backbone_cache import FrozenPart
from avdfd.training.build import AnyDetector
from avdfd.training.distributed import World
from avdfd.training.run_folder import RunFolder

_AHEAD = 3  # batches read ahead
_MEASURED = 64  # rows
_HOMES: dict[Place, str] = {"gpu": "the memory of the GPU", "memory": "memory", "disk": "files"}


class CachedBatches:
    """The batches of an epoch, with each process's share of them, from the cache: `Batch.cached` is an `encoded`.

    They follow `order`, and the `encoded`, is in float32 on the device.
    """

    def __init__(
        self,
        cache: ArrayStore,
        metas: ElementTable,
        order: Shared,
        device: torch.device,
        encoded: type[Any],
        *,
        place: Place = "disk",
    ) -> None:
        self.cache, self.order, self.device, self.place = cache, order, device, place
        self.rows = torch.from_numpy(metas.rows)
        fake, tier = torch.from_numpy(fake_seconds(metas) > 0), metas.coded("tier")
        of_tier = torch.tensor([AUDIO_CLASS.get(name, -1) for name in tier.values])[torch.from_numpy(tier.codes).long()]
        self._label = fake.any(dim=1).float().to(device)
        self._fake_modalities = fake.float().to(device)
        self._audio_class = torch.where(fake[:, 0], of_tier, of_tier.clamp_max(0)).to(device)
        files = Resident(encoded(**{name: cache.array(name) for name in cache.formats}), device)
        self._rows, self._index = files, self.rows
        if place == "gpu":
            row = fields.map_tensors(files.tensors, itemgetter(0))
            self._rows, self._index = Resident.empty(row, len(metas), place, device), torch.arange(len(metas))
            for positions in self._index.split(BLOCK):
                self._rows.put(positions, files.take(self.rows[positions]))
        elif place == "memory":
            cache.load(metas.rows)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Share, Batch]]:
        if self.place == "gpu":
            return ((share, self.take(_positions(share))) for share in self.order.shares())
        return in_background(self._announced(), _AHEAD)

    def __str__(self) -> str:
        return f"{len(self.rows)} cached clips in {_HOMES[self.place]}"

    def take(self, positions: Sequence[int]) -> Batch:
        """Return the batch of the elements at these positions."""
        index = torch.tensor(positions)
        encoded = fields.map_tensors(self._rows.take(self._index[index]), Tensor.float)
        index = index.to(self.device)
        labels = self._label[index], self._fake_modalities[index], self._audio_class[index]
        return Batch(None, None, *labels, cached=encoded)

    def rate(self) -> float:
        """Measure the clips per second that can be read, on some rows in random order."""
        positions = np.random.default_rng(0).permutation(len(self.rows))[:_MEASURED]
        if self.place == "disk":
            self.cache.drop(self.rows.numpy()[positions])  # they may have been written a moment ago
        self._announce(positions.tolist())
        first, *rest = (part.tolist() for part in np.array_split(positions, min(4, len(positions))))
        float(self.take(first).label.sum())  # allocates buffers, and waits for the GPU
        started = time.monotonic()
        for some in rest:
            batch = self.take(some)
        float(batch.label.sum())
        return (len(positions) - len(first)) / (time.monotonic() - started)

    def _announced(self) -> Iterator[Callable[[], tuple[Share, Batch]]]:
        """Yield for each batch of the epoch the call that reads it, once its rows are announced."""
        for share in self.order.shares():
            self._announce(_positions(share))
            yield partial(self._taken, share)

    def _taken(self, share: Share) -> tuple[Share, Batch]:
        return share, self.take(_positions(share))

    def _announce(self, positions: Sequence[int]) -> None:
        if self.place == "disk":
            self.cache.will_need(self.rows.numpy()[positions])


def _positions(share: Share) -> list[int]:
    return [draw.position for draw in share.draws]


def open_stage2(
    cfg: TrainConfig,
    world: World,
    run: RunFolder,
    stop: Stop,
    model: AnyDetector,
    *sets: tuple[ElementSet, Shared],
) -> Sequence[Batches | CachedBatches]:
    """Open the batches of each set of elements in its order, from the cache if `cfg.cache` asks for it.

    What the cache lacks is computed first. Raises UserError as `backbone_cache.fill` and `residency.choose` do, and
    EndedBySignal after a signal; the next call then continues from there.
    """
    if cfg.cache and cfg.frozen:
        inputs = sets[0][0].inputs
        assert isinstance(inputs, Inputs), "stage 2 has these inputs"
        part = backbone_cache.Encoder(model, inputs, cfg.optim.precision, world.device)
        return open_cached(cfg.data, world, run, stop, part, *sets)
    if cfg.cache:
        trained = "backbone_lr_scale" if cfg.backbone_lr_scale else "audio_lr_scale"
        trained = trained if cfg.backbone_lr_scale or cfg.audio_lr_scale else "consistency.lr_scale"
        run.announce(f"cache: not used, as an encoder is trained ({trained})")
    return open_batches(cfg.data, world.device, *sets)


def open_cached(
    cfg: DataConfig, world: World, run: RunFolder, stop: Stop, part: FrozenPart, *sets: tuple[ElementSet, Shared]
) -> list[CachedBatches]:
    """Open the batches of each set of elements in its order from the cache of a frozen part; see `open_stage2`."""
    if cfg.decode == "cuda":
        raise UserError("data.decode 'cuda': training takes cached features, and decodes no frames; choose 'auto'")
    tables = [elements.metas for elements, _ in sets if isinstance(elements.metas, ElementTable)]
    store = sets[0][0].store
    assert isinstance(store, ElementStore), "models with frozen parts are trained on element stores"
    cache = backbone_cache.open_cache(store, part)
    rows = np.unique(np.concatenate([table.rows for table in tables]))
    missing = len(cache.missing(rows))
    size = len(rows) * cache.row_bytes
    run.announce(
        f"cache: frozen features of {len(rows)} clips without augmentation, {cache.row_bytes / 1e6:.2f} MB each and "
        f"{size / 1e9:.2f} GB in total; {missing} are missing; {cache.root}",
    )
    with Bar(total=missing, desc="cache", unit="clip", leave=False, disable=not world.first) as bar:

        def advance(count: int) -> None:
            bar.update(count)
            if stop.asked:
                raise EndedBySignal(f"{cache.root}: computed features are kept; run it again with --resume to continue")

        backbone_cache.fill(cache, rows, store, part, workers=cfg.workers, advance=advance)
    place = choose(cfg.home, size, world.device)
    made = [
        CachedBatches(cache, table, order, world.device, part.encoded, place=place)
        for table, (_, order) in zip(tables, sets, strict=True)
    ]
    if world.first:
        run.announce(f"cache: {_verdict(cache, place, made[0].rate(), part.option)}")
    return made


def _verdict(cache: ArrayStore, place: Place, read: float, option: str) -> str:
    """State whether reading is faster than computing, and the key that turns the cache off, if there is one."""
    computed = cache.about().get("computed")
    line = f"read from {_HOMES[place]} at {read:,.1f} clips/s"
    if computed is None:
        return line
    rate = computed["clips_per_second"]
    better = "caching pays off" if read > rate else f"computing is faster{f': set {option} to false' if option else ''}"
    return f"{line}, computed at {rate:,.1f} on the {computed['device']}: {better}"
