"""Predictors of one modality's tokens from the other's: vision from audio, and the reverse for comparison.

B batch   N visual tokens   A audio tokens   D width
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.models.layers import TransformerEncoder


class VisualPredictor(nn.Module):
    """Encoder layers over [visual anchor; audio tokens]. The anchor carries the identity, not what is said."""

    def __init__(self, dim: int, *, depth: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(dim, depth, heads, 2 * dim, dropout)
        self.head = nn.Linear(dim, dim)

    def forward(self, audio_tokens: Tensor, anchor: Tensor, length: int) -> Tensor:
        """audio_tokens (B, A, D), anchor (B, D) -> `length` predicted visual tokens (B, length, D).

        Both token sequences are in time order, so linear interpolation aligns them in time.
        """
        audio = rearrange(audio_tokens, "b a d -> b d a")
        audio = rearrange(F.interpolate(audio, size=length, mode="linear"), "b d n -> b n d")
        hidden = self.encoder(torch.cat([anchor[:, None], audio], dim=1))
        return self.head(hidden[:, 1:])


class AudioPredictor(nn.Module):
    """The reverse, of the same size and cost: encoder layers over [audio anchor; visual tokens].

    The anchor carries the voice. The encoder attends to all visual tokens; each audio token is the mean over the
    tokens of its time span. Linear interpolation, which reads two tokens only, would miss the mouth.
    """

    def __init__(self, dim: int, *, depth: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(dim, depth, heads, 2 * dim, dropout)
        self.head = nn.Linear(dim, dim)

    def forward(self, visual_tokens: Tensor, anchor: Tensor, length: int) -> Tensor:
        """visual_tokens (B, N, D), anchor (B, D) -> `length` predicted audio tokens (B, length, D)."""
        hidden = self.encoder(torch.cat([anchor[:, None], visual_tokens], dim=1))[:, 1:]
        moments = F.adaptive_avg_pool1d(rearrange(hidden, "b n d -> b d n"), length)
        return self.head(rearrange(moments, "b d a -> b a d"))
