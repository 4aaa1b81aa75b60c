"""Pooling of the scores of windows: their mean, their maximum, or the mean of the k largest.

M windows   N clips
"""

import re

import numpy as np

from avdfd.metrics.roc import Floats


def parse_rule(text: str) -> str:
    """Return a pooling rule: "mean", "max", or "top" and a number. Raises ValueError for another text."""
    if text not in ("mean", "max") and not re.fullmatch(r"top[1-9]\d{0,5}", text):
        raise ValueError(f"'{text}' is not mean, max or top and a number, as in top3")
    return text


def pooled(values: np.ndarray, member: np.ndarray, rule: str) -> Floats:
    """Return the score (N,) of each clip from those of windows (M,), of which window i belongs to clip `member[i]`.

    A clip with fewer windows than the rule asks for uses all of them.
    """
    count = np.bincount(member)
    if rule == "mean":
        return np.bincount(member, values) / count
    order = np.lexsort((-values, member))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    most = 1 if rule == "max" else int(rule.removeprefix("top"))
    chosen = order[rank < most]
    return np.bincount(member[chosen], values[chosen]) / np.minimum(count, most)
