"""Features of a frozen visual representation, computed once for all rounds, epochs and runs of stage 2a."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avdfd.config import ConsistencyStageConfig, RepresentationConfig
from avdfd.core.signals import Stop
from avdfd.datasets import mouths
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Sequential, Shared
from avdfd.elements import ElementStore
from avdfd.features.window import MEL_BINS, MEL_FRAMES
from avdfd.models.representations import Representation
from avdfd.training.array_store import RowFormat
from avdfd.training.backbone_cache import described, row_formats_of, settings_of
from avdfd.training.cached_batches import CachedBatches, open_cached
from avdfd.training.distributed import World
from avdfd.training.precision import autocast
from avdfd.training.representations import load_representation
from avdfd.training.run_folder import RunFolder

_VERSION = 1  # raise it with every change of what a representation takes or computes


class Seen(NamedTuple):
    """Features of B clips."""

    features: Tensor
    """(B, 77, D); in half precision if cached."""


class FrozenRepresentation(NamedTuple):
    """A frozen representation, and its inputs: a `FrozenPart`."""

    model: Representation
    cfg: RepresentationConfig
    inputs: Inputs
    precision: str
    device: torch.device

    @property
    def encoded(self) -> type[Seen]:
        return Seen

    @property
    def option(self) -> str:
        return ""

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Seen:
        """Mel, which is not used, and mouth -> features to cache."""
        _, mouth = inputs
        with autocast(self.device, self.precision):
            return Seen(self.model.features(mouth).half())

    def identity(self, store: ElementStore) -> dict[str, Any]:
        return {
            **described(store, self.precision, self.device),
            "inputs": {"version": _VERSION},
            "representation": settings_of(self.cfg),
        }

    def row_formats(self) -> dict[str, RowFormat]:
        mel = torch.zeros((1, MEL_BINS, MEL_FRAMES), device=self.device)
        return row_formats_of(self(mel, mouths.blank(self.cfg, self.device)))


class CachedFeatures(NamedTuple):
    """Features of a set of elements."""

    batches: CachedBatches

    def of(self, positions: Sequence[int]) -> Tensor:
        """Return the features (B, 77, D) of the elements at these positions, in float32."""
        seen = self.batches.take(positions).cached
        assert isinstance(seen, Seen), "which is cached"
        return seen.features


def open_features(
    cfg: ConsistencyStageConfig, world: World, run: RunFolder, stop: Stop, *sets: ElementSet
) -> list[CachedFeatures]:
    """Return the features of each set of elements. What the cache lacks is computed first.

    Raises UserError and EndedBySignal as `open_cached` does, and UserError as `load_representation` does.
    """
    representation = cfg.model.representation
    model = load_representation(representation).to(world.device)
    inputs = Inputs(None, shape=True, representation=representation)
    part = FrozenRepresentation(model, representation, inputs, cfg.optim.precision, world.device)
    ordered = [(elements, Shared(Sequential(len(elements), 16))) for elements in sets]
    return [CachedFeatures(batches) for batches in open_cached(cfg.data, world, run, stop, part, *ordered)]
