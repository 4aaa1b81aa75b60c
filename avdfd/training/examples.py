"""A picture of what a model is given, for people to look at: no figure, so that it costs a training run no time."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_HEIGHT, _WIDTH, _CAPTION, _GAP = 128, 512, 18, 6  # pixels
_FRAMES = 6


class Example(NamedTuple):
    """What a model is given of an element."""

    caption: str
    sound: np.ndarray
    """(bins, frames), low frequencies first."""
    pictures: np.ndarray | None
    """(T, H, W, 3) uint8, or None for models that hear only."""


def draw(examples: Sequence[Example]) -> np.ndarray:
    """(H, W, 3) uint8: a row for each, its caption, its spectrogram from lowest to highest, and some of its frames."""
    return np.concatenate([_row(example) for example in examples])


def _row(example: Example) -> np.ndarray:
    parts = [_spectrogram(example.sound)]
    if example.pictures is not None:
        chosen = np.linspace(0, len(example.pictures) - 1, min(_FRAMES, len(example.pictures))).astype(int)
        small = [cv2.resize(example.pictures[i], (_HEIGHT, _HEIGHT), interpolation=cv2.INTER_AREA) for i in chosen]
        parts += [np.full((_HEIGHT, _GAP, 3), 255, np.uint8), *small]
    body = np.concatenate(parts, axis=1)
    head = np.full((_CAPTION, body.shape[1], 3), 255, np.uint8)
    cv2.putText(head, example.caption, (2, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, body])


def _spectrogram(sound: np.ndarray) -> np.ndarray:
    low, high = float(sound.min()), float(sound.max())
    scaled = (255 * (sound[::-1] - low) / max(high - low, 1e-12)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(colours, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA))
