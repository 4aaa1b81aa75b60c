"""Normalisation of frames: pixels to the values that a visual encoder was trained on."""

import functools
from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["imagenet", "unit"]
"""Normalisation of colour frames for a ViT."""
_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "lips": ((0.421,), (0.165,)),
}
"""Channel means and standard deviations of pixels between 0 and 1: ImageNet's, none, or AV-HuBERT's."""


def normalise(video: Tensor, how: Normalisation | Literal["lips"] = "imagenet") -> Tensor:
    """uint8 video (B, C, T, H, W) -> float, on the same device. Colour and grey of "lips" have the same statistics."""
    mean, std = (constant(values, video.device).view(-1, 1, 1, 1) for values in _STATISTICS[how])
    return (video.float() / 255 - mean) / std


@functools.cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, copied there once, as each copy would wait for a GPU."""
    return torch.tensor(values, device=device)
