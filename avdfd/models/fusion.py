"""Fusion of the two branches: by per-sample confidence, or by the same weights for all samples.

B batch   K branches   D width   E evidence
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
    """Confidence network: both branches' features and logits -> weights of the two probabilities.

    If `supervised`, the weights are trained by a loss of their own (`avdfd.models.losses.confidence`), so no gradient
    flows from them into the features and logits.
    """

    def __init__(self, dim: int, evidence: int, *, supervised: bool = True, faithful: bool = False) -> None:
        super().__init__()
        self.supervised = supervised
        self.confidence = head(dim + evidence + 2, dim, 2)
        self.fuse = fuse_probabilities_released if faithful else fuse_probabilities

    def forward(self, audio: Tensor, evidence: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, D), evidence (B, E), logits (B, 2) -> fused logit (B,) and log weights (B, 2)."""
        inputs = torch.cat([audio, evidence, logits], dim=-1)
        log_weights = F.log_softmax(self.confidence(inputs.detach() if self.supervised else inputs), dim=-1)
        return self.fuse(logits, log_weights), log_weights


class FixedFusion(nn.Module):
    """Fusion with the same weights of the two probabilities for every sample; it has no parameters."""

    log_weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        """`weights` are those of the audio and the visual branch; they add up to 1."""
        super().__init__()
        self.register_buffer("log_weights", torch.tensor(weights).log(), persistent=False)

    def forward(self, audio: Tensor, evidence: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """As `ConfidenceFusion`, but only the logits (B, 2) are used."""
        log_weights = self.log_weights.expand(len(logits), 2)
        return fuse_probabilities(logits, log_weights), log_weights
