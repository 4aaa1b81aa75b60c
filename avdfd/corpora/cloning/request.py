"""What every back end is asked for, and what it may answer.

A back end is a function from a Request to samples (S',) float32 at 16 kHz. Whatever goes wrong with one conversion is a
ConversionError; the clip then gets no clone from it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from avdfd.features.mel import SAMPLE_RATE

_SILENCE = 10 ** (-70 / 20)  # root mean square, as in avdfd.media.windows
_COPY = 10 ** (-20 / 20)  # of the source: what differs by less has not been converted


class ConversionError(Exception):
    """A conversion that gave nothing usable; the message is the reason that is listed."""


class Request(NamedTuple):
    """Say again what `source` (S,) says, with the voice of `reference` (R,); both float32 at 16 kHz."""

    source: np.ndarray
    reference: np.ndarray
    seed: int
    settings: Mapping[str, float] = {}
    """What a candidate has in place of the back end's own settings."""


Convert = Callable[[Request], np.ndarray]


def checked(samples: np.ndarray, source: np.ndarray, tolerance: float) -> np.ndarray:
    """The samples of a conversion (S',), cut or ended with silence to be as long as the source (S,).

    Raises ConversionError for samples that are no sound, are the source itself, or are off by more than `tolerance` s.
    """
    if not len(samples):
        raise ConversionError("the result is empty")
    if not np.isfinite(samples).all():
        raise ConversionError("the result has values that are no numbers")
    if np.sqrt(np.square(samples, dtype=np.float64).mean()) < _SILENCE:
        raise ConversionError("the result is silent")
    late = (len(samples) - len(source)) / SAMPLE_RATE
    if abs(late) > tolerance:
        raise ConversionError(f"the result is {abs(late):.3f} s {'longer' if late > 0 else 'shorter'} than the source")
    samples = np.pad(samples, (0, max(0, -round(late * SAMPLE_RATE))))[: len(source)].astype(np.float32)
    gain = float(samples @ source) / max(float(source @ source), 1e-12)
    if np.linalg.norm(samples - gain * source) < _COPY * np.linalg.norm(samples):
        raise ConversionError("the result is the source itself")
    return samples
