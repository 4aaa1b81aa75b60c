"""Synchrony of the predicted and the actual mouth movement, independent of appearance.

B batch   T moments (8 tubelets of 2 frames)   N visual tokens   D width   L lags

Each moment of a face is compared with the clip's mean, so identity and a generator's artefacts cancel out. The lag at
which predicted and actual moments agree best is the offset between audio and video.

References: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016 (synchrony by
embeddings of audio and mouth at several lags).
"""

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor, nn

from OpenAVFF.precision import full_precision

_SCALE = 5.0  # of the cosines, which differ little between moments


class Synchrony(nn.Module):
    """Agreement of predicted and actual moments, and from it the logit of audio and video being out of sync."""

    def __init__(self, moments: int) -> None:
        super().__init__()
        self.moments = moments
        self.lags = range(-(moments // 2), moments // 2 + 1)
        self.logit = nn.Linear(len(self.lags), 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.constant_(self.logit.bias, -1.0)

    def forward(self, predicted: Tensor, actual: Tensor) -> tuple[Tensor, Tensor]:
        """Visual tokens (B, N, D) in time, row, column order -> agreement (B, T, T), logit (B,) of being out of sync.

        The agreement is the cosine of each predicted moment (rows) with each actual one.
        """
        with full_precision(predicted):
            agreement = self._changes(predicted) @ self._changes(actual).mT
            profile = [torch.diagonal(agreement, lag, dim1=1, dim2=2).mean(dim=1) for lag in self.lags]
            return agreement, self.logit(_SCALE * torch.stack(profile, dim=1)).squeeze(-1)

    def _changes(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, T, D) unit vectors: the mean over the face, less its mean over the clip."""
        moments = reduce(tokens.float(), "b (t p) d -> b t d", "mean", t=self.moments)
        return F.normalize(moments - moments.mean(dim=1, keepdim=True), dim=-1)


def either(first: Tensor, second: Tensor) -> Tensor:
    """Logit of at least one of two independent events with these logits (B,), computed in the log domain.

    The log probability of neither event is -(softplus(first) + softplus(second)).
    """
    neither = F.softplus(first.float()) + F.softplus(second.float())
    return neither + torch.log(-torch.expm1(-neither))
