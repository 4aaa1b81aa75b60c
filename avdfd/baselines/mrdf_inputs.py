"""MRDF's inputs from frames and filter banks.

    frames (T, H, W, 3) uint8, 25 per second   video (3, T, 100, 100) uint8   audio (104, T)

Augmentation is one draw per clip, and only if a generator is given.
"""

import cv2
import numpy as np
import torch
from einops import rearrange
from numpy.random import Generator
from torch import Tensor

SIDE = 100

_FLIP = 0.5


def half_size(frames: np.ndarray) -> Tensor:
    """Halve frames (T, H, W, 3) uint8 to (T, H / 2, W / 2, 3). Raises ValueError if they are below 200 x 200."""
    height, width = (size // 2 for size in frames.shape[1:3])
    if min(height, width) < SIDE:
        raise ValueError(f"frames of {frames.shape[2]}x{frames.shape[1]} are smaller than {2 * SIDE}x{2 * SIDE}")
    return torch.from_numpy(np.stack([cv2.resize(frame, (width, height)) for frame in frames]))


def mrdf_video(small: Tensor, rng: Generator | None) -> Tensor:
    """Crop half-size frames (T, H, W, 3) uint8 to the middle: (3, T, 100, 100) uint8.

    With a generator the crop is anywhere, and half of the clips are mirrored.
    """
    height, width = small.shape[1:3]
    top, left, mirror = (height - SIDE) // 2, (width - SIDE) // 2, False
    if rng is not None:
        top, left = int(rng.integers(height - SIDE + 1)), int(rng.integers(width - SIDE + 1))
        mirror = rng.random() < _FLIP
    video = rearrange(small[:, top : top + SIDE, left : left + SIDE], "t h w c -> c t h w")
    return video.flip(-1) if mirror else video.contiguous()
