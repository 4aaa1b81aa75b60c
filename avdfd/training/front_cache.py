"""Batches of stage 1 on a pretrained audio encoder, from the cache of its hidden states if it is frozen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avdfd.config import AugmentConfig, PretrainConfig
from avdfd.core.signals import Stop
from avdfd.datasets.batches import Batches, open_batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Shared
from avdfd.elements import ElementStore
from avdfd.features.window import WINDOW
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.speech_encoder import Hidden, SpeechEncoder
from avdfd.training import loop
from avdfd.training.array_store import RowFormat
from avdfd.training.backbone_cache import described, row_formats_of
from avdfd.training.cached_batches import CachedBatches, open_cached
from avdfd.training.distributed import World
from avdfd.training.run_folder import RunFolder

_VERSION = 1  # raise it with every change of what a front end computes


class FrozenFront(NamedTuple):
    """A frozen front end, and its inputs: a `FrozenPart`."""

    model: SpeechEncoder
    inputs: Inputs
    precision: str
    device: torch.device

    @property
    def encoded(self) -> type[Hidden]:
        return Hidden

    @property
    def option(self) -> str:
        return "model.front.cache"

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Hidden:
        """Waveform (B, 49152) -> features to cache, hidden states in half precision."""
        (waveform,) = inputs
        with loop.autocast(self.device, self.precision):
            states, statistics = self.model.front(waveform)
        return Hidden(states.half(), None if statistics is None else statistics.float())

    def identity(self, store: ElementStore) -> dict[str, Any]:
        origin, statistics = self.model.origin, self.model.statistics
        return {
            **described(store, self.precision, self.device),
            "inputs": {"version": _VERSION, "audio": self.inputs.audio},
            "front": {key: origin[key] for key in ("kind", "arch", "sha256", "sizes", "rate")},
            "layers": self.model.layers,
            "statistics": None if statistics is None else statistics._asdict(),
        }

    def row_formats(self) -> dict[str, RowFormat]:
        return row_formats_of(self(torch.zeros((1, WINDOW), device=self.device)))


def open_stage1(
    cfg: PretrainConfig, world: World, run: RunFolder, stop: Stop, model: AudioNet, *sets: tuple[ElementSet, Shared]
) -> Sequence[Batches | CachedBatches]:
    """Open the batches of each set of elements in its order, from the cache if a pretrained encoder is frozen.

    Not if the audio is augmented, or `front.cache` is off. Raises UserError and EndedBySignal as `open_cached` does.
    """
    front, encoder, inputs = cfg.model.front, model.encoder, sets[0][0].inputs
    if not isinstance(encoder, SpeechEncoder) or front is None or not front.cache:
        return open_batches(cfg.data, world.device, *sets)
    reasons = {
        "the encoder is trained": front.train_from is not None,
        "audio is augmented": cfg.augment != AugmentConfig(),
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if against:
        run.announce(f"cache: not used, as {against[0]}")
        return open_batches(cfg.data, world.device, *sets)
    assert isinstance(inputs, Inputs), "stage 1 has these inputs"
    return open_cached(
        cfg.data, world, run, stop, FrozenFront(encoder, inputs, cfg.optim.precision, world.device), *sets
    )
