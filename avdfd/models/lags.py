"""Features of two streams at several lags, for systems that look for the lag at which audio and video agree.

    B batch   T frames, 25 per second   D width   L = 2 reach + 1 lags

Lag l compares the video at frame t with the audio at t + l: it is the number of frames by which the audio is late.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

REACH = 15
"""Frames: the published systems look for lags up to this many, 0.6 s, in both directions."""


def at_lags(features: Tensor, reach: int = REACH) -> Tensor:
    """Features (B, T, D) -> (B, T, L, D): those of frames t - reach to t + reach; zeros before and after the clip."""
    padded = F.pad(features, (0, 0, reach, reach))
    return rearrange(padded.unfold(1, 2 * reach + 1, 1), "b t d l -> b t l d")
