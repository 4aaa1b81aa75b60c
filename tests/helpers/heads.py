"""Drawn heads in larger images, whose places and mouths are known."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from avdfd.media.video import ArrayFrame
from data.corpus.face import Head, draw_look, draw_motion

FPS = 25
SIZE = (270, 480)


class Place(NamedTuple):
    """Head in an image: its middle and side in pixels, opening of its mouth (0 to 1, in tenths), and whose it is."""

    x: float
    y: float
    side: float = 150
    opening: float = 0.1
    seed: int = 3


@functools.lru_cache(maxsize=200)
def head(opening: float = 0.1, seed: int = 3) -> np.ndarray:
    """Return a drawn head (224, 224, 3) RGB."""
    rng = np.random.default_rng(seed)
    drawn = Head(draw_look("Asian (South)", "men", rng), rng)
    image = drawn.frame(draw_motion(1, rng)[0], np.array([opening, 0.5, 0.1, 0, 0]))
    return np.ascontiguousarray(image[..., ::-1])


def scene(places: Sequence[Place], size: tuple[int, int] = SIZE, grey: int = 90) -> np.ndarray:
    """Return an image (H, W, 3) RGB of heads on grey."""
    image = np.full((*size, 3), grey, np.uint8)
    for x, y, side, opening, seed in places:
        scale = side / 224
        matrix = np.array([[scale, 0, x - side / 2], [0, scale, y - side / 2]])
        cv2.warpAffine(
            head(round(opening, 1), seed), matrix, size[::-1], image, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
        )
    return image


def frames(images: Sequence[np.ndarray], fps: float = FPS) -> list[ArrayFrame]:
    return [ArrayFrame(image, number / fps, 1 / fps) for number, image in enumerate(images)]
