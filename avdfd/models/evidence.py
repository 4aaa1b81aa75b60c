"""Evidence of the consistency branch: what the comparison of audio and mouth shows, in a few numbers per clip.

B batch   T frames (25 a second)   K tokens   L lags   E evidence

All numbers are means, extremes or quantiles over time, never sums: a clip that repeats itself keeps its
evidence. They are of size 1 or so. A head on them is not bound to a direction: audio and mouth that agree better than
real recordings do are evidence as well.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.models.consistency import LAGS, Evidence

EVIDENCE = 8
_SECOND = 25  # frames
_UNIT = 5.0  # of log-ratios
_SHARPNESS = 20.0  # of correlations in the choice of the best lag
_QUANTILES = (0.1, 0.25)
_MOVES = (5, 10, 20)  # frames


def summarised(compared: Evidence) -> Tensor:
    """Return the evidence (B, E) of compared clips.

    In this order: log-ratio of the clip; mean, 10 % and 25 % quantile and worst second of that over time; correlation
    at the best lag; that lag without sign, in units of 15 frames; how far the correlation at the best lag is above the
    mean of all lags.
    """
    frames, agreement = compared.frames.float(), compared.agreement.float()
    low = quantiles(frames, _QUANTILES)
    seconds = F.avg_pool1d(frames[:, None], min(_SECOND, frames.shape[1]), stride=1)[:, 0]
    lags = torch.arange(-LAGS, LAGS + 1, device=agreement.device).abs() / LAGS
    best = F.softmax(_SHARPNESS * agreement, dim=1)
    highest = (best * agreement).sum(dim=1)
    ratios = [compared.log_ratio.float(), frames.mean(dim=1), *low, seconds.amin(dim=1)]
    others = [highest, (best * lags).sum(dim=1), highest - agreement.mean(dim=1)]
    return torch.stack([*(ratio / _UNIT for ratio in ratios), *others], dim=1)


def quantiles(values: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Return quantiles (B,) of values (B, T), as torch.quantile computes them, which cannot be exported."""
    ordered = values.sort(dim=1).values
    found = []
    for share in shares:
        rank = np.float32(share) * np.float32(values.shape[1] - 1)
        low = int(rank)
        high = min(low + 1, values.shape[1] - 1)
        found.append(torch.lerp(ordered[:, low], ordered[:, high], float(rank - np.float32(low))))
    return found


def moved(audio: Tensor, mouth: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return parts of clips with the tokens of other moments of their audio.

    (B, T, K) each -> the first part with its own audio, then with audio 5, 10 and 20 frames later and earlier. All are
    of the same length, T - 20, so that length tells nothing.
    """
    length = audio.shape[1] - max(_MOVES)
    assert length > 0, "windows are longer than a move"
    pairs = [(audio[:, :length], mouth[:, :length])]
    for move in _MOVES:
        pairs.append((audio[:, move : move + length], mouth[:, :length]))
        pairs.append((audio[:, :length], mouth[:, move : move + length]))
    return pairs
