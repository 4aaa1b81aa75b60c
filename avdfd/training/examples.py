"""An image of a model's inputs, drawn without a plotting library, which would take a training run too long."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_HEIGHT, _WIDTH, _CAPTION, _GAP = 128, 512, 18, 6  # pixels
_FRAMES = 6


class Example(NamedTuple):
    """The model inputs of one element."""

    caption: str
    spectrogram: np.ndarray
    """(bins, frames), low frequencies first."""
    frames: np.ndarray | None
    """(T, H, W, 3) uint8, or None for models without video."""


def draw(examples: Sequence[Example]) -> np.ndarray:
    """Draw one row per example, its caption, spectrogram scaled to its range and some frames: (H, W, 3) uint8."""
    return np.concatenate([_row(example) for example in examples])


def _row(example: Example) -> np.ndarray:
    images = [_spectrogram(example.spectrogram)]
    if example.frames is not None:
        chosen = np.linspace(0, len(example.frames) - 1, min(_FRAMES, len(example.frames))).astype(int)
        small = [cv2.resize(example.frames[i], (_HEIGHT, _HEIGHT), interpolation=cv2.INTER_AREA) for i in chosen]
        images += [np.full((_HEIGHT, _GAP, 3), 255, np.uint8), *small]
    body = np.concatenate(images, axis=1)
    head = np.full((_CAPTION, body.shape[1], 3), 255, np.uint8)
    cv2.putText(head, example.caption, (2, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, body])


def _spectrogram(values: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(values)  # the step that such a clip spoils is reported
    low, high = float(values.min()), float(values.max())
    scaled = (255 * (values[::-1] - low) / max(high - low, 1e-12)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(colours, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA))
