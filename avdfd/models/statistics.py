"""Second-order statistics of a spectrogram: how it moves from point to point, whatever is said.

    B batch   N patches of frames   K statistics   G bands of bins

A vocoder makes magnitudes that a few numbers determine: they are smoother from frame to frame, or rougher, than those
of a voice, and differ in how neighbours go together. Moments of differences to the local mean say so. What is said,
by whom and how loud is in the local mean itself, and that is taken away.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

GROUPS = 16
"""Bands of bins that statistics are taken over."""

_SPAN = 9  # bins of the local mean
_TIME_SPANS = (5, 17)  # frames of the local mean
# Frames, or (bins, frames), between two points that are multiplied.
_LAGS = ((0, 1), (0, 2), (0, 3), (0, 4), (0, 6), (0, 8), (0, 12))
_ACROSS = ((1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (1, -1), (2, 1), (2, -1), (1, 2), (1, -2))
STATISTICS = 4 + len(_LAGS) + len(_ACROSS) + 3 * len(_TIME_SPANS)
"""Numbers per band and patch."""

_FLOOR = 1e-4


def local_statistics(mel: Tensor, patch_frames: int) -> Tensor:
    """z-scored mel (B, F, T) -> (B, N, K * G): of each patch and band, log variance and its log deviation, skewness
    and log kurtosis of the differences to the mean of 9 bins; their correlations with neighbours in time, frequency and
    both; log variance, log kurtosis and skewness of the differences to the mean of 5 and 17 frames.

    F must be a multiple of `GROUPS`, and T of `patch_frames`. Frames count by how loud they are: what is said between
    words is noise.
    """
    mel = mel.float()
    weight = torch.sigmoid(4 * mel.mean(1, keepdim=True)) + 1e-3
    of_patch = rearrange(weight, "b 1 (n t) -> b 1 n t", t=patch_frames)
    weight = rearrange(of_patch / of_patch.mean(-1, keepdim=True), "b 1 n t -> b 1 (n t)")

    def pooled(values: Tensor) -> Tensor:
        """(B, F, T) -> (B, G, N)."""
        return reduce(values, "b (g f) (n t) -> b g n", "mean", g=GROUPS, t=patch_frames)

    rest = mel - F.avg_pool2d(mel[:, None], (_SPAN, 1), 1, (_SPAN // 2, 0), count_include_pad=False)[:, 0]
    square = rest.square()
    weighted, weighted_square = rest * weight, square * weight
    variance, fourth = pooled(weighted_square) + _FLOOR, pooled(weighted_square * square)
    found = [variance.log(), ((fourth - variance.square()).clamp_min(0) + _FLOOR).log() / 2]
    found += [pooled(weighted_square * rest) / variance**1.5, (fourth / variance.square() + _FLOOR).log()]
    for bins, frames in _LAGS + _ACROSS:
        found.append(pooled(weighted * _moved(rest, bins, frames)) / variance)
    for span in _TIME_SPANS:
        rest = mel - F.avg_pool1d(mel, span, 1, span // 2, count_include_pad=False)
        square = rest.square()
        weighted = square * weight
        variance = pooled(weighted) + _FLOOR
        found += [variance.log(), (pooled(weighted * square) / variance.square() + _FLOOR).log()]
        found.append(pooled(weighted * rest) / variance**1.5)
    return rearrange(torch.stack(found), "k b g n -> b n (k g)")


def _moved(values: Tensor, bins: int, frames: int) -> Tensor:
    """Values (B, F, T) moved down by some bins and to the right by some frames; zeros come in."""
    right, left = max(frames, 0), max(-frames, 0)
    return F.pad(values, (right, left, bins, 0))[:, : values.shape[1], left : left + values.shape[2]]
