"""Stage 1: the audio encoder over patches of sound, and the heads it is trained with.

    B batch   N tokens (12 patches of 64 mel frames)   K numbers of a patch   D width   P projection

The published AVDFD design: 12 patches, 4 post-norm layers, mean pool. Another one, for voices that were not trained on:
statistics of each patch in place of its points, and their deviation from patch to patch beside their mean; of the mel,
or of the mel and several linear spectra of the waveform.

What cuts a sound into patches (avdfd/features/patches.py) learns nothing: what it has made of a clip can be kept
(avdfd/datasets/cached_patches.py).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.config import AudioModelConfig
from avdfd.features.patches import Front, Patches
from avdfd.models.layers import TransformerEncoder, head

_FLOOR = 1e-4


class AudioEncoder(nn.Module):
    """Sound -> tokens. Each patch is `patch_frames` mel frames long with all bins; its points, or its statistics, are
    projected."""

    def __init__(self, config: AudioModelConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.front = Front.of(config)
        self.score: FittedScore | None = None
        numbers = self.front.numbers
        self.patch_proj = nn.Linear(numbers, config.dim)
        if self.front.statistics:
            # They differ in scale. A token is the same wherever it is, and so there are no positions.
            self.patch_norm = nn.BatchNorm1d(numbers, affine=False)
            self.patch_drop = nn.Dropout1d(config.dropout)
            self.spread_proj = nn.Linear(numbers, config.dim)
            if config.score == "fitted":
                self.score = FittedScore(2 * numbers)
        else:
            self.pos_emb = nn.Parameter(torch.empty(1, self.front.patches, config.dim))
        self.encoder = TransformerEncoder(config.dim, config.depth, config.heads, config.mlp_dim, config.dropout)
        nn.init.trunc_normal_(self.patch_proj.weight, std=0.02)
        nn.init.zeros_(self.patch_proj.bias)
        if not self.front.statistics:
            nn.init.normal_(self.pos_emb, std=0.02)

    def forward(self, sound: Tensor | Patches) -> tuple[Tensor, Tensor]:
        """z-scored mel (B, 128, 768), or waveform (B, 49152) where there are spectra; or their patches -> clip feature
        (B, D) and tokens (B, N, D).

        Of statistics the feature is the mean of the tokens, and what is made of the deviation of each of them over the
        patches. A fitted score takes the place of its first number.
        """
        patches = sound if isinstance(sound, Patches) else self.front(sound)
        if not self.front.statistics:
            tokens = self.encoder(self.patch_proj(patches.values) + self.pos_emb)
            return tokens.mean(dim=1), tokens
        normed = self.patch_drop(self.patch_norm(rearrange(patches.values, "b n k -> b k n")))
        tokens = self.encoder(self.patch_proj(rearrange(normed, "b k n -> b n k")))
        feature = tokens.mean(dim=1) + self.spread_proj(_deviation(normed, dim=2))
        if self.score is not None:
            feature = torch.cat([self.score(pooled(patches))[:, None].to(feature.dtype), feature[:, 1:]], dim=1)
        return feature, tokens


def pooled(patches: Patches) -> Tensor:
    """Mean and deviation of each statistic over the patches of a sound: (B, 2 K), float32."""
    values = patches.values.float()
    return torch.cat([values.mean(dim=1), _deviation(values, dim=1)], dim=1)


def _deviation(values: Tensor, dim: int) -> Tensor:
    return (values.var(dim=dim, unbiased=False) + _FLOOR).sqrt()


class FittedScore(nn.Module):
    """A linear function of the pooled statistics of a sound, which `avdfd.training.fitted` finds; it has no
    gradient."""

    centre: Tensor
    direction: Tensor

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("direction", torch.zeros(numbers))

    def forward(self, values: Tensor) -> Tensor:
        """(B, M) -> (B,)."""
        return ((values - self.centre) * self.direction).sum(dim=1)  # a matrix product would be rounded under autocast


class ScaledScore(nn.Module):
    """The head of a fitted score: feature (B, D) -> logit (B, 1) of its first number, by a scale and an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, feature: Tensor) -> Tensor:
        return self.scale(feature[:, :1])


def audio_head(config: AudioModelConfig) -> nn.Module:
    """Feature (B, D) -> logit (B, 1)."""
    return ScaledScore() if config.score == "fitted" else head(config.dim, config.dim, 1)


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
        self.head = audio_head(config)
        self.prototype = nn.Parameter(torch.empty(config.projection_dim))
        nn.init.normal_(self.prototype, std=0.02)

    def forward(self, sound: Tensor | Patches) -> AudioOutput:
        """z-scored mel (B, 128, 768), or waveform (B, 49152), as the config says; or their patches."""
        feat, tokens = self.encoder(sound)
        z = F.normalize(self.projection(feat), dim=1)
        return AudioOutput(feat=feat, z=z, logit=self.head(feat).squeeze(-1), tokens=tokens)
