"""Fusion of the two branches: by per-sample confidence, or by weights that are the same for all samples."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.layers import head


def fuse_probabilities(logits: Tensor, log_weights: Tensor) -> Tensor:
    """Logit of the weighted mean of probabilities, sum_k w_k * sigmoid(logit_k), computed in the log domain.

    logits (B, K), log_weights (B, K) with rows that are log-softmaxed -> (B,). Exact and with a useful gradient
    at any logit: log p and log(1 - p) are each a logsumexp, so no probability is formed, rounded or clamped.
    """
    logits, log_weights = logits.float(), log_weights.float()
    log_p = torch.logsumexp(log_weights + F.logsigmoid(logits), dim=-1)
    log_not_p = torch.logsumexp(log_weights + F.logsigmoid(-logits), dim=-1)
    return log_p - log_not_p


def fuse_probabilities_released(logits: Tensor, log_weights: Tensor) -> Tensor:
    """The same mean as the released code forms it: p clamped to [1e-6, 1 - 1e-6], no gradient beyond."""
    p = (log_weights.exp() * torch.sigmoid(logits)).sum(dim=-1).clamp(1e-6, 1 - 1e-6)
    return torch.log(p / (1 - p))


class ConfidenceFusion(nn.Module):
    """Confidence network on both branches' features and logits -> weights of the two probabilities.

    `supervised` weights look at them and do not form them: no gradient flows into what they are told by.
    """

    def __init__(self, dim: int, evidence: int, *, supervised: bool = True, faithful: bool = False) -> None:
        super().__init__()
        self.supervised = supervised
        self.confidence = head(dim + evidence + 2, dim, 2)
        self.fuse = fuse_probabilities_released if faithful else fuse_probabilities

    def forward(self, audio: Tensor, evidence: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, D), evidence (B, E), logits (B, 2) -> fused logit (B,) and log weights (B, 2)."""
        seen = torch.cat([audio, evidence, logits], dim=-1)
        log_weights = F.log_softmax(self.confidence(seen.detach() if self.supervised else seen).float(), dim=-1)
        return self.fuse(logits, log_weights), log_weights


class FixedFusion(nn.Module):
    """The same weights of the two probabilities for every sample; there is nothing to learn in it."""

    log_weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        """`weights` of the audio and the visual branch, which add up to 1; a branch of weight 0 is left out."""
        super().__init__()
        self.register_buffer("log_weights", torch.tensor(weights).log(), persistent=False)

    def forward(self, audio: Tensor, evidence: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """As `ConfidenceFusion`, of which it looks at the logits (B, 2) alone."""
        log_weights = self.log_weights.expand(len(logits), 2)
        return fuse_probabilities(logits, log_weights), log_weights
