"""Fusion of the branches: by per-sample confidence, or by the same weights for all samples.

B batch   K branches   E features
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.layers import head


def fuse_probabilities(logits: Tensor, log_weights: Tensor) -> Tensor:
    """Logit of the weighted mean of probabilities, sum_k w_k * sigmoid(logit_k), computed in the log domain.

    logits (B, K), log_weights (B, K), each row a log-softmax -> (B,). Exact and with a useful gradient at any logit:
    log p and log(1 - p) are each a logsumexp, so no probability is formed, rounded or clamped.
    """
    logits, log_weights = logits.float(), log_weights.float()
    log_p = torch.logsumexp(log_weights + F.logsigmoid(logits), dim=-1)
    log_not_p = torch.logsumexp(log_weights + F.logsigmoid(-logits), dim=-1)
    return log_p - log_not_p


def fuse_probabilities_released(logits: Tensor, log_weights: Tensor) -> Tensor:
    """The same as the released code computes it: p is clamped to [1e-6, 1 - 1e-6], without a gradient beyond."""
    p = (log_weights.exp() * torch.sigmoid(logits)).sum(dim=-1).clamp(1e-6, 1 - 1e-6)
    return torch.log(p / (1 - p))


class ConfidenceFusion(nn.Module):
    """Confidence network: features and logits of all branches -> weights of their probabilities.

    If `supervised`, the weights are trained by a loss of their own (`avdfd.models.losses.confidence`), so no gradient
    flows from them into the features and logits. Branches that are `left_out` get no weight.
    """

    left_out: Tensor

    def __init__(
        self,
        features: int,
        *,
        hidden: int,
        branches: int = 2,
        supervised: bool = True,
        left_out: Sequence[int] = (),
        faithful: bool = False,
    ) -> None:
        """features: their number E; hidden: width of the network."""
        super().__init__()
        self.supervised = supervised
        self.confidence = head(features + branches, hidden, branches)
        self.fuse = fuse_probabilities_released if faithful else fuse_probabilities
        self.register_buffer("left_out", _marked(branches, left_out), persistent=False)

    def forward(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, E), logits (B, K) -> fused logit (B,) and log weights (B, K)."""
        inputs = torch.cat([features, logits.masked_fill(self.left_out, 0)], dim=-1)
        weights = self.confidence(inputs.detach() if self.supervised else inputs)
        log_weights = F.log_softmax(weights.masked_fill(self.left_out, -torch.inf), dim=-1)
        return self.fuse(logits, log_weights), log_weights


class FixedFusion(nn.Module):
    """Fusion with the same weights of the probabilities for every sample; it has no parameters."""

    log_weights: Tensor

    def __init__(self, weights: Sequence[float], *, left_out: Sequence[int] = ()) -> None:
        """`weights` are those of the branches; those of branches that are `left_out` go to the others."""
        super().__init__()
        given = torch.tensor(weights).masked_fill(_marked(len(weights), left_out), 0)
        self.register_buffer("log_weights", (given / given.sum()).log(), persistent=False)

    def forward(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """As `ConfidenceFusion`, but only the logits (B, K) are used."""
        log_weights = self.log_weights.expand_as(logits)
        return fuse_probabilities(logits, log_weights), log_weights


def _marked(branches: int, left_out: Sequence[int]) -> Tensor:
    """Return bool (K,), True for the branches that are left out."""
    marked = torch.zeros(branches, dtype=torch.bool)
    marked[[*left_out]] = True
    return marked
