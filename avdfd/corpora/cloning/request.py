"""Interface of a back end: a function from a Request to samples (S',) float32 at 16 kHz.

A conversion that fails raises ConversionError; that candidate then gives no clone.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from avdfd.features.acoustics import SILENCE
from avdfd.features.window import SAMPLE_RATE

_COPY = 10 ** (-20 / 20)  # of the source: a result that differs by less was not converted


class ConversionError(Exception):
    """A conversion without a usable result; the message is the reason that is listed."""


class Request(NamedTuple):
    """Conversion of `source` (S,) to the voice of `reference` (R,); both float32 at 16 kHz."""

    source: np.ndarray
    reference: np.ndarray
    seed: int
    settings: Mapping[str, float] = {}
    """Settings of this candidate, which replace those of the back end."""


Convert = Callable[[Request], np.ndarray]


def checked(samples: np.ndarray, source: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the samples of a conversion (S',), cut or padded with silence to the length of the source (S,).

    Raises ConversionError if they are empty, silent, not finite, equal to the source, or differ from its length by
    more than `tolerance` s.
    """
    if not len(samples):
        raise ConversionError("the result is empty")
    if not np.isfinite(samples).all():
        raise ConversionError("the result has values that are not finite")
    if np.sqrt(np.square(samples, dtype=np.float64).mean()) < SILENCE:
        raise ConversionError("the result is silent")
    excess = (len(samples) - len(source)) / SAMPLE_RATE
    if abs(excess) > tolerance:
        raise ConversionError(
            f"the result is {abs(excess):.3f} s {'longer' if excess > 0 else 'shorter'} than the source"
        )
    samples = np.pad(samples, (0, max(0, -round(excess * SAMPLE_RATE))))[: len(source)].astype(np.float32)
    gain = float(samples @ source) / max(float(source @ source), 1e-12)
    if np.linalg.norm(samples - gain * source) < _COPY * np.linalg.norm(samples):
        raise ConversionError("the result is the source itself")
    return samples
