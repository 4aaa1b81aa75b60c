"""Choice of the face that speaks among several: the one whose mouth moves with the audio.

Shapes of the mouth and how fast it changes are correlated with the loudness of the audio; the lips move up to 0.2 s
before it or 0.08 s after it. docs/benchmarks.md has how often that is right.
"""

from collections.abc import Sequence

import numpy as np

from avdfd.features.window import FPS, SAMPLE_RATE

_LAGS = range(-5, 3)
"""Frames by which the audio may be ahead of the mouth."""
_SURE = 0.1
"""Evidence by which the best face has to be ahead of the others, and of none."""
_LIVELY = 0.004
"""Least standard deviation of how fast a mouth that speaks changes. Of real talking faces 99 % have 0.005 or more."""
_LOUDNESS = 1280
"""Samples in which loudness is measured: 80 ms, which begin 20 ms before the frame."""


def speaking(mouths: Sequence[np.ndarray], samples: np.ndarray) -> int | None:
    """Return the position of the face that speaks, or None if it is not clear.

    `mouths` are (T, 4) at 25 frames a second, one per face: as `faces.mouth_of` gives them; `samples` (S,) are the
    audio of the same time at 16 kHz.
    """
    if len(mouths) < 2:
        return None
    evidence = _evidence(mouths, loudness(samples, len(mouths[0])))
    best, second = np.argsort(-evidence)[:2]
    return int(best) if evidence[best] - max(evidence[second], 0) > _SURE else None


def loudness(samples: np.ndarray, count: int) -> np.ndarray:
    """Return the root of the RMS of the audio (S,) at each of `count` frames (T,)."""
    starts = np.arange(count) * SAMPLE_RATE // FPS - _LOUDNESS // 4
    blocks = [samples[max(0, start) : start + _LOUDNESS] for start in starts.tolist()]
    return np.array([np.mean(np.square(block, dtype=np.float64)) ** 0.25 if len(block) else 0.0 for block in blocks])


def _evidence(mouths: Sequence[np.ndarray], loud: np.ndarray) -> np.ndarray:
    """Return (F,) correlations with the audio, smaller for faces that move less than the liveliest."""
    from scipy.ndimage import gaussian_filter1d  # here as in face_paths.py

    gaps, outer, chins, widths = np.moveaxis(np.array(mouths), 2, 0)
    shapes = gaps + outer + chins - widths
    speeds = sum(np.abs(np.gradient(gaussian_filter1d(part, 0.8, axis=1), axis=1)) for part in (gaps, chins, widths))
    liveliness = speeds.std(axis=1)
    if liveliness.max() < _LIVELY:
        return np.zeros(len(shapes))
    agreement = [(_correlation(a, loud) + _correlation(b, loud)) / 2 for a, b in zip(shapes, speeds, strict=True)]
    return np.array(agreement) * np.sqrt(liveliness / liveliness.max())


def _correlation(mouth: np.ndarray, loud: np.ndarray) -> float:
    """Return the highest correlation of two tracks (T,) over the lags, both smoothed over 0.1 s."""
    from scipy.ndimage import gaussian_filter1d

    mouth, loud = gaussian_filter1d(mouth, 1), gaussian_filter1d(loud, 1)
    count = len(mouth)
    pairs = [(mouth[max(0, lag) : count + min(0, lag)], loud[max(0, -lag) : count - max(0, lag)]) for lag in _LAGS]
    found = [np.corrcoef(a, b)[0, 1] for a, b in pairs if len(a) > 2 and a.std() > 1e-9 and b.std() > 1e-9]
    return max(found, default=0.0)
