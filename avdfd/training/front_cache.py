"""Batches of stage 1 on a pretrained audio encoder, from the cache of its hidden states if it is frozen."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avdfd.config import AugmentConfig, PretrainConfig
from avdfd.core.fields import map_tensors
from avdfd.core.signals import Stop
from avdfd.datasets.batches import Batches, open_batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Shared
from avdfd.elements import ElementStore
from avdfd.features.window import WINDOW
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.speech_encoder import Hidden, SpeechEncoder
from avdfd.training.array_store import RowFormat
from avdfd.training.backbone_cache import described, row_formats_of
from avdfd.training.cached_batches import CachedBatches, open_cached
from avdfd.training.distributed import World
from avdfd.training.precision import autocast
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
        with autocast(self.device, self.precision):
            found = self.model.front(waveform)
        return map_tensors(found, Tensor.float)._replace(states=found.states.half())

    def identity(self, store: ElementStore) -> dict[str, Any]:
        origin, statistics = self.model.origin, self.model.statistics
        return {
            **described(store, self.precision, self.device),
            "inputs": {"version": _VERSION, "audio": self.inputs.audio},
            "front": {key: origin[key] for key in ("kind", "arch", "sha256", "sizes", "rate")},
            "layers": self.model.layers,
            "statistics": None if statistics is None else statistics._asdict(),
            **({} if self.model.weighting == "equal" else {"weighting": self.model.weighting}),
        }

    def row_formats(self) -> dict[str, RowFormat]:
        return row_formats_of(self(torch.zeros((1, WINDOW), device=self.device)))


def open_stage1(
    cfg: PretrainConfig, world: World, run: RunFolder, stop: Stop, model: AudioNet, *sets: tuple[ElementSet, Shared]
) -> Sequence[Batches | CachedBatches]:
    """Open the batches of each set of elements in its order, from the cache if a pretrained encoder is frozen.

    Not if `front.cache` is off, nor those whose audio is augmented. Raises UserError and EndedBySignal as `open_cached`
    does.
    """
    front, encoder = cfg.model.front, model.encoder
    if not isinstance(encoder, SpeechEncoder) or front is None or not front.cache:
        return open_batches(cfg.data, world.device, *sets)
    if front.train_from is not None:
        run.announce("cache: not used, as the encoder is trained")
        return open_batches(cfg.data, world.device, *sets)
    augmented = [one for one in sets if _inputs(one[0]).augment != AugmentConfig()]
    plain = [one for one in sets if one not in augmented]
    if augmented:
        run.announce("cache: for validation alone, as the audio of training is augmented")
    part = FrozenFront(encoder, _inputs(plain[0][0]), cfg.optim.precision, world.device)
    cached: Iterator[Batches | CachedBatches] = iter(open_cached(cfg.data, world, run, stop, part, *plain))
    others: Iterator[Batches | CachedBatches] = iter(open_batches(cfg.data, world.device, *augmented))
    return [next(others if one in augmented else cached) for one in sets]


def _inputs(elements: ElementSet) -> Inputs:
    assert isinstance(elements.inputs, Inputs), "stage 1 has these inputs"
    return elements.inputs
