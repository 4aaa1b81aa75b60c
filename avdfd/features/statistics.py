"""Second-order statistics of a spectrogram: local spectro-temporal correlations, independent of what is said.

    B batch   F bins   T frames   N patches of frames   K statistics   G bands of bins

A vocoder computes magnitudes from few parameters, so they are smoother or rougher over time than those of a natural
voice, and neighbouring points correlate differently. The moments of the differences from the local mean show this.
Content, speaker and level are mostly in the local mean, which is removed.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

GROUPS = 16
"""Bands of bins; statistics are computed in each."""

_SPAN = 9  # bins of the local mean
_TIME_SPANS = (5, 17)  # frames of the local mean
# (bins, frames) between the two points of a correlation.
_LAGS = ((0, 1), (0, 2), (0, 3), (0, 4), (0, 6), (0, 8), (0, 12))
_ACROSS = ((1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (1, -1), (2, 1), (2, -1), (1, 2), (1, -2))
STATISTICS = 4 + len(_LAGS) + len(_ACROSS) + 3 * len(_TIME_SPANS)
"""Numbers per band and patch."""

_FLOOR = 1e-4


def local_statistics(spectrogram: Tensor, patches: int) -> Tensor:
    """z-scored log spectrogram (B, F, T) -> (B, N, K * G) of N patches of equal length.

    For each patch and band: log variance, the log standard deviation of the squares, skewness and log kurtosis of the
    differences from the mean of 9 bins; their correlations with neighbours in time, frequency and both; log variance,
    log kurtosis and skewness of the differences from the mean of 5 and of 17 frames.

    F must be a multiple of `GROUPS`, and T of N. Frames are weighted by loudness, as there is only noise between words.
    """
    values = spectrogram.float()
    weight = torch.sigmoid(4 * values.mean(1, keepdim=True)) + 1e-3
    of_patch = rearrange(weight, "b 1 (n t) -> b 1 n t", n=patches)
    weight = rearrange(of_patch / of_patch.mean(-1, keepdim=True), "b 1 n t -> b 1 (n t)")

    def pooled(values: Tensor) -> Tensor:
        """(B, F, T) -> (B, G, N)."""
        return reduce(values, "b (g f) (n t) -> b g n", "mean", g=GROUPS, n=patches)

    rest = values - _local_mean(values, _SPAN, dim=1)
    square = rest.square()
    weighted, weighted_square = rest * weight, square * weight
    variance, fourth = pooled(weighted_square) + _FLOOR, pooled(weighted_square * square)
    found = [variance.log(), ((fourth - variance.square()).clamp_min(0) + _FLOOR).log() / 2]
    found += [pooled(weighted_square * rest) / variance**1.5, (fourth / variance.square() + _FLOOR).log()]
    for bins, frames in _LAGS + _ACROSS:
        found.append(pooled(weighted * _shifted(rest, bins, frames)) / variance)
    for span in _TIME_SPANS:
        rest = values - _local_mean(values, span, dim=2)
        square = rest.square()
        weighted = square * weight
        variance = pooled(weighted) + _FLOOR
        found += [variance.log(), (pooled(weighted * square) / variance.square() + _FLOOR).log()]
        found.append(pooled(weighted * rest) / variance**1.5)
    return rearrange(torch.stack(found), "k b g n -> b n (k g)")


def _local_mean(values: Tensor, span: int, dim: int) -> Tensor:
    """Mean over a window of `span` (odd) points around each point of values (B, F, T), shorter at the edges.

    On a CPU a sum of slices is several times as fast as torch's pooling.
    """
    reach, count = span // 2, values.shape[dim]
    padded = F.pad(values, (reach, reach) if dim == 2 else (0, 0, reach, reach))
    total = padded.narrow(dim, 0, count).clone()
    for first in range(1, span):
        total += padded.narrow(dim, first, count)
    place = torch.arange(count, device=values.device)
    inside = (place + reach).clamp_max(count - 1) - (place - reach).clamp_min(0) + 1
    return total / (inside if dim == 2 else inside[:, None])


def _shifted(values: Tensor, bins: int, frames: int) -> Tensor:
    """Shift values (B, F, T) by a number of bins up and of frames later, filling with zeros."""
    right, left = max(frames, 0), max(-frames, 0)
    return F.pad(values, (right, left, bins, 0))[:, : values.shape[1], left : left + values.shape[2]]
