"""Stage 1: the audio encoder over mel patches, and the heads it is trained with.

    B batch   N tokens (12 patches of 64 mel frames)   D width   P projection

The published AVDFD design: 12 patches, 4 post-norm layers, mean pool. Another one, for voices that were not trained on:
statistics of each patch in place of its points, and their deviation from patch to patch beside their mean.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.config import AudioModelConfig
from avdfd.features import MEL_BINS, MEL_FRAMES
from avdfd.models.layers import TransformerEncoder, head
from avdfd.models.statistics import GROUPS, STATISTICS, local_statistics

_FLOOR = 1e-4


class AudioEncoder(nn.Module):
    """Mel patches -> tokens. Each patch is `patch_frames` mel frames with all bins; its points, or its statistics, are
    projected."""

    def __init__(self, config: AudioModelConfig) -> None:
        super().__init__()
        self.patch_frames = config.patch_frames
        self.dim = config.dim
        tokens = MEL_FRAMES // config.patch_frames
        points = MEL_BINS * config.patch_frames
        self.statistics = config.patches == "statistics"
        self.patch_proj = nn.Linear(STATISTICS * GROUPS if self.statistics else points, config.dim)
        if self.statistics:
            # They differ in scale. A token is the same wherever it is, and so there are no positions.
            self.patch_norm = nn.BatchNorm1d(STATISTICS * GROUPS, affine=False)
            self.patch_drop = nn.Dropout1d(config.dropout)
            self.spread_proj = nn.Linear(STATISTICS * GROUPS, config.dim)
        else:
            self.pos_emb = nn.Parameter(torch.empty(1, tokens, config.dim))
        self.encoder = TransformerEncoder(config.dim, config.depth, config.heads, config.mlp_dim, config.dropout)
        nn.init.trunc_normal_(self.patch_proj.weight, std=0.02)
        nn.init.zeros_(self.patch_proj.bias)
        if not self.statistics:
            nn.init.normal_(self.pos_emb, std=0.02)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """z-scored mel (B, 128, 768) -> clip feature (B, D) and tokens (B, N, D)."""
        if self.statistics:
            return self.of_statistics(local_statistics(mel, self.patch_frames))
        patches = rearrange(mel, "b f (n t) -> b n (f t)", t=self.patch_frames)
        tokens = self.encoder(self.patch_proj(patches) + self.pos_emb)
        return tokens.mean(dim=1), tokens

    def of_statistics(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """What `local_statistics` gives, (B, N, K * G) -> clip feature and tokens.

        The feature is the mean of the tokens, and what is made of the deviation of each statistic over the patches.
        """
        normed = self.patch_drop(self.patch_norm(rearrange(statistics, "b n k -> b k n")))
        tokens = self.encoder(self.patch_proj(rearrange(normed, "b k n -> b n k")))
        spread = (normed.var(dim=2, unbiased=False) + _FLOOR).sqrt()
        return tokens.mean(dim=1) + self.spread_proj(spread), tokens


class AudioOutput(NamedTuple):
    """What stage 1 computes for a batch."""

    feat: Tensor
    """(B, D) clip feature."""
    z: Tensor
    """(B, P) embedding of unit length."""
    logit: Tensor
    """(B,) logit of the audio being fake."""
    tokens: Tensor
    """(B, N, D)."""


class AudioNet(nn.Module):
    """Audio encoder with projection, auxiliary real/fake head and one learned prototype of real speech."""

    def __init__(self, config: AudioModelConfig) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.projection = nn.Sequential(
            nn.Linear(config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, config.projection_dim)
        )
        self.head = head(config.dim, config.dim, 1)
        self.prototype = nn.Parameter(torch.empty(config.projection_dim))
        nn.init.normal_(self.prototype, std=0.02)

    def forward(self, mel: Tensor) -> AudioOutput:
        """z-scored mel (B, 128, 768)."""
        feat, tokens = self.encoder(mel)
        z = F.normalize(self.projection(feat), dim=1)
        return AudioOutput(feat=feat, z=z, logit=self.head(feat).squeeze(-1), tokens=tokens)
