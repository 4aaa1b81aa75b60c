"""Geometry of boxes: (..., 4) left, top, width, height in pixels. All functions broadcast over the leading axes."""

import numpy as np

SAME_FACE = 0.3
"""Intersection over union above which two boxes are of one face."""


def middle(boxes: np.ndarray) -> np.ndarray:
    """Return the middles (..., 2) of boxes."""
    return boxes[..., :2] + boxes[..., 2:] / 2


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the area (...) that two boxes have in common."""
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    return np.maximum(high - low, 0).prod(axis=-1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (...) of two boxes, at least one of which has an area."""
    common = shared(a, b)
    return common / (a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - common)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of the middles of two boxes (4,), relative to the larger side of the first."""
    return float(np.linalg.norm(middle(a) - middle(b)) / a[2:].max())
