"""Early features of a clip, pooled over time: what its recording looks like, rather than what a network found in it.

    B batch   N tokens   D width

They tell recordings of one kind from those of another; the last features of a trained network hold what tells its
classes apart, and little else (docs/evaluation.md).
"""

import torch
from torch import Tensor

from avdfd.features.mel import log_mel, zscore


def spread(tokens: Tensor, padding: Tensor | None = None) -> Tensor:
    """Return mean and standard deviation over N tokens (B, N, D): (B, 2 D), float32.

    `padding` (B, N) is True for tokens that do not count. The standard deviation of a single token is 0.
    """
    tokens = tokens.float()
    if padding is None:
        std = tokens.std(dim=1, correction=min(1, tokens.shape[1] - 1))
        return torch.cat([tokens.mean(dim=1), std], dim=1)
    there = ~padding[..., None]
    count = there.sum(dim=1)
    mean = (tokens * there).sum(dim=1) / count
    squares = ((tokens - mean[:, None]) * there).square().sum(dim=1)
    return torch.cat([mean, (squares / (count - 1).clamp_min(1)).sqrt()], dim=1)


def of_audio(audio: Tensor) -> Tensor:
    """Return mean and standard deviation over time of each bin of the z-scored mel: (B, 256).

    `audio` is that mel (B, 128, T) or the waveform (B, S).
    """
    mel = audio if audio.ndim == 3 else zscore(log_mel(audio))
    return spread(mel.mT)


def of_maps(maps: Tensor, padding: Tensor | None = None) -> Tensor:
    """Return the same of the first convolution's maps (B, D, T, H, W), over each frame, as a mean over time: (B, 2 D).

    `padding` (B, T) is True for frames that do not count.
    """
    variance, mean = torch.var_mean(maps.float(), dim=(-2, -1))
    frames = torch.cat([mean, variance.sqrt()], dim=1).mT
    return spread(frames, padding)[:, : frames.shape[2]]
