"""Inputs of visual representations from elements: mouth shape, mouth crops or face crops, at 25 per second.

B batch   T 77 frames   S side of the ViT's frames

               read                                 prepared, as in `avdfd.models.representations`
mouth-shape    (B, T, 120) float32                  the same
av-hubert      (B, T, 96, 96) uint8, grey           the same
vit            (B, T, 224, 224, 3) uint8            (B, 3, T, S, S) uint8

Nothing is augmented, so that features can be computed once for all epochs.
"""

import torch
from torch import Tensor

from avdfd.config import AugmentConfig, RepresentationConfig
from avdfd.datasets.transforms import video_input
from avdfd.elements import Element
from avdfd.features.mouth_crops import SIDE, mouth_crops
from avdfd.features.mouth_shape import SHAPE, mouth_shape
from avdfd.features.window import FRAMES


def takes_frames(cfg: RepresentationConfig) -> bool:
    """Return True if a representation takes the frames, all of them."""
    return cfg.kind != "mouth-shape"


def takes_landmarks(cfg: RepresentationConfig) -> bool:
    """Return True if a representation takes the landmarks."""
    return cfg.kind != "vit"


def read(element: Element, cfg: RepresentationConfig) -> Tensor:
    """Return what a representation takes of an element, without the batch dimension."""
    if cfg.kind == "vit":
        return torch.from_numpy(element.frames)
    return torch.from_numpy(
        mouth_shape(element.landmarks) if cfg.kind == "mouth-shape" else mouth_crops(element.frames, element.landmarks)
    )


def prepare(mouth: Tensor, cfg: RepresentationConfig) -> Tensor:
    """Convert what was read to what the representation takes, on the same device."""
    return mouth if cfg.vit is None else video_input(mouth, cfg.vit.image_size, AugmentConfig(), None)


def blank(cfg: RepresentationConfig, device: torch.device) -> Tensor:
    """Return one prepared mouth of zeros, in a batch."""
    if cfg.kind == "mouth-shape":
        return torch.zeros((1, FRAMES, SHAPE), device=device)
    side = cfg.vit.image_size if cfg.vit else SIDE
    shape = (1, 3, FRAMES, side, side) if cfg.vit else (1, FRAMES, side, side)
    return torch.zeros(shape, dtype=torch.uint8, device=device)
