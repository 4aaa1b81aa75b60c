"""What the front of the audio branch makes of an element, in place of its sound: made when it is read, and kept then.

Without augmentation it is the same in every epoch, and a feed that keeps what it has read computes it once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from avdfd.datasets.loaders import Batch, Inputs, Reads, stack
from avdfd.datasets.transforms import Seeds
from avdfd.elements import Element
from avdfd.features.patches import Front, Patches


class HeardBatch(NamedTuple):
    """B elements as the part of the audio branch that learns takes them."""

    patches: Tensor
    """(B, N, K)."""
    label: Tensor
    """(B,) float, 1 = fake."""
    audio_class: Tensor
    """(B,) as in `Batch`."""


class Heard(NamedTuple):
    """The `InputForm` of stage 1 behind the front of its encoder. There is no augmentation."""

    inputs: Inputs
    front: Front

    @property
    def reads(self) -> Reads:
        return self.inputs.reads

    @torch.inference_mode()
    def raw(self, element: Element) -> HeardBatch:
        batch = self.inputs.prepare(stack([self.inputs.raw(element)]), None)
        patches = self.front(batch.mel).values
        return HeardBatch(patches[0].clone(), batch.label[0], batch.audio_class[0])

    def prepare(self, raw: HeardBatch, seeds: Seeds | None) -> HeardBatch:
        return raw


def heard(batch: Batch | HeardBatch) -> Tensor | Patches:
    """What the audio branch takes of a batch."""
    return Patches(batch.patches) if isinstance(batch, HeardBatch) else batch.mel
