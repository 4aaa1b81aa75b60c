"""Columns of scored windows: their names, and what is read from their values. Needs no torch, as do drawings.

N windows   S steps in a window
"""

from collections.abc import Iterable

import numpy as np

from avdfd.features.window import FPS, SECONDS

FUSED = "fused"
WEIGHT = "w_"
"""Prefix of the column of a branch's weight in the fused score."""
DISTANCE = "domain_"
"""Prefix of the column of a branch's distance from the training data."""
POOLED = 8
"""Mel frames per column of the drawn spectrogram."""


def best_lag(agreement: np.ndarray) -> np.ndarray:
    """Return the lag (...) of the highest correlation (..., 31), in ms; above 0 if the audio is late."""
    return (agreement.argmax(axis=-1) - agreement.shape[-1] // 2) * (1000 / FPS)


def at(starts: Iterable[float], values: np.ndarray, time: float) -> np.ndarray | None:
    """Return the mean of values (N, S, ...), S even steps in each window, at a moment over the windows that contain it.

    None if no window does.
    """
    steps = values.shape[1]
    found = [
        window[min(int((time - start) / SECONDS * steps), steps - 1)]
        for start, window in zip(starts, values, strict=True)
        if start <= time < start + SECONDS
    ]
    return np.mean(found, axis=0) if found else None
