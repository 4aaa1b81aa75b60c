"""Audio determines the mouth: predicts the visual tokens of a clip from its audio; and the reverse, to compare with.

B batch   N visual tokens   A audio tokens   D width
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.config import PredictorConfig
from avdfd.models.layers import TransformerEncoder


class VisualPredictor(nn.Module):
    """Encoder layers over [visual anchor; audio tokens]; the anchor tells whose face it is, not what it says."""

    def __init__(self, dim: int, config: PredictorConfig) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(dim, config.depth, config.heads, 2 * dim, config.dropout)
        self.head = nn.Linear(dim, dim)

    def forward(self, audio_tokens: Tensor, anchor: Tensor, length: int) -> Tensor:
        """audio_tokens (B, A, D), anchor (B, D) -> `length` predicted visual tokens (B, length, D).

        Both token sequences run in time order, so linear interpolation brings each visual token its own moment.
        """
        audio = rearrange(audio_tokens, "b a d -> b d a")
        audio = rearrange(F.interpolate(audio, size=length, mode="linear"), "b d n -> b n d")
        hidden = self.encoder(torch.cat([anchor[:, None], audio], dim=1))
        return self.head(hidden[:, 1:])


class AudioPredictor(nn.Module):
    """The mirror image: encoder layers over [audio anchor; visual tokens], of the same sizes and cost.

    The anchor tells whose voice it is. All visual tokens are attended to, and each audio token gets the mean of those
    of its moment: interpolation, as it takes two of them, would miss the mouth.
    """

    def __init__(self, dim: int, config: PredictorConfig) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(dim, config.depth, config.heads, 2 * dim, config.dropout)
        self.head = nn.Linear(dim, dim)

    def forward(self, visual_tokens: Tensor, anchor: Tensor, length: int) -> Tensor:
        """visual_tokens (B, N, D), anchor (B, D) -> `length` predicted audio tokens (B, length, D)."""
        hidden = self.encoder(torch.cat([anchor[:, None], visual_tokens], dim=1))[:, 1:]
        moments = F.adaptive_avg_pool1d(rearrange(hidden, "b n d -> b d n"), length)
        return self.head(rearrange(moments, "b d a -> b a d"))
