"""Scores of frames, for frames.npz."""

from collections.abc import Sequence

import numpy as np

from avdfd.elements import ElementMeta, times
from avdfd.inference.scoring import Scores


def over_time(metas: Sequence[ElementMeta], scores: Scores) -> dict[str, np.ndarray]:
    """Return the consistency of the N windows over time, mean over runs; empty for a system without that branch.

    `key` and `clip` (N,) name the window, `start` and `end` (N,) are its seconds of the clip, `log_ratio` (N, 77) is
    that of every frame, `agreement` (N, 31) the correlation at lags from -15 to 15 frames.
    """
    if scores.frames is None or scores.agreement is None:
        return {}
    start, end = times(metas).T
    return {
        "key": np.array([meta.key for meta in metas]),
        "clip": np.array([meta.source for meta in metas]),
        "start": start,
        "end": end,
        "log_ratio": scores.frames.astype(np.float32),
        "agreement": scores.agreement.astype(np.float32),
    }
