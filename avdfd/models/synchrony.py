"""Whether the predicted mouth moves when the seen one does, whatever both look like.

B batch   T moments (8 tubelets of 2 frames)   N visual tokens   D width   L lags

A face is compared with itself at other moments, so that who it is and what a generator left on it plays no part. The
moments of prediction and picture that go together best tell by how much sound and picture are apart.

References: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016 (synchrony by
embeddings of sound and mouth at several lags).
"""

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor, nn

_SCALE = 5.0  # of cosines, which differ little from moment to moment


class Synchrony(nn.Module):
    """From how predicted and seen moments agree to the logit of their being out of step."""

    def __init__(self, moments: int) -> None:
        super().__init__()
        self.moments = moments
        self.lags = range(-(moments // 2), moments // 2 + 1)
        self.logit = nn.Linear(len(self.lags), 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.constant_(self.logit.bias, -1.0)

    def forward(self, predicted: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Visual tokens (B, N, D), in time, row, column order -> agreement (B, T, T) of each predicted moment with each
        that is seen, as cosines, and logit (B,) of sound and picture being out of step."""
        agreement = self._changes(predicted) @ self._changes(seen).mT
        profile = [torch.diagonal(agreement, lag, dim1=1, dim2=2).mean(dim=1) for lag in self.lags]
        return agreement, self.logit(_SCALE * torch.stack(profile, dim=1)).squeeze(-1)

    def _changes(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, T, D) unit vectors: the mean over the face, less what stays the same in the clip."""
        moments = reduce(tokens.float(), "b (t p) d -> b t d", "mean", t=self.moments)
        return F.normalize(moments - moments.mean(dim=1, keepdim=True), dim=-1)


def either(first: Tensor, second: Tensor) -> Tensor:
    """Logit of at least one of two independent events of these logits (B,), in the log domain: neither has
    log probability -(softplus(first) + softplus(second))."""
    neither = F.softplus(first.float()) + F.softplus(second.float())
    return neither + torch.log(-torch.expm1(-neither))
