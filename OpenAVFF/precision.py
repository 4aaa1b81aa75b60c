"""Layers that compute in float32 under autocast: half precision rounds scores so coarsely that many become equal."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context without autocast on the tensor's device; the meta device has no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class Float32(nn.Sequential):
    """Layers in sequence that compute in float32, whatever their input and autocast; the keys of a Sequential.

    A model in double precision stays in it.
    """

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            return super().forward(x.to(torch.promote_types(x.dtype, torch.float32)))
