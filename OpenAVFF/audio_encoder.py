"""AVFF's audio encoder: a ViT over patches of a filter bank.

    B batch   L frames   128 mel bands   D width
    N tokens = 8 * (L / 16), ordered band, time: time varies fastest

The state_dict keys are those of the released OpenAVFF encoder.

References:
    Gong et al., "Contrastive Audio-Visual Masked Autoencoder", ICLR 2023, whose audio branch this is.
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from OpenAVFF.stack import Stack
from OpenAVFF.visual_encoder import init_weights

MEL_BINS = 128
PATCH = 16
BANDS = MEL_BINS // PATCH
"""Rows of tokens."""


def sincos_grid(rows: int, columns: int, dim: int) -> Tensor:
    """Return the position embedding (1, rows * columns, dim): half of the channels for the column, half for the row."""
    rate = 10_000 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row, column = (torch.arange(n, dtype=torch.float64)[:, None] * rate for n in (rows, columns))
    angles = torch.stack([column.expand(rows, -1, -1), row[:, None].expand(-1, columns, -1)], dim=2)
    return rearrange([angles.sin(), angles.cos()], "wave r c place d -> 1 (r c) (place wave d)").float()


def audio_image(audio: Tensor) -> Tensor:
    """Filter bank (B, L, 128) -> image (B, 1, 128, L), which is cut into patches."""
    return rearrange(audio, "b l m -> b 1 m l")


def blocks(dim: int, depth: int, heads: int) -> Stack:
    """Return the transformer blocks of audio."""
    from timm.models.vision_transformer import Block  # here: it takes 1.7 s, which other systems need not wait for

    return Stack(Block(dim, heads, norm_layer=nn.LayerNorm) for _ in range(depth))


class AudioEncoder(nn.Module):
    """ViT over 16x16 patches. The defaults are ViT-B on 1024 frames: 8x64 tokens."""

    def __init__(self, *, audio_length: int = 1024, dim: int = 768, depth: int = 12, heads: int = 12) -> None:
        from timm.layers import PatchEmbed  # here: as above

        super().__init__()
        self.grid = (BANDS, audio_length // PATCH)
        self.tokens = self.grid[0] * self.grid[1]
        self.patch_embed = PatchEmbed(img_size=(MEL_BINS, audio_length), patch_size=PATCH, in_chans=1, embed_dim=dim)
        self.pos_embed = nn.Parameter(sincos_grid(*self.grid, dim))
        self.modality = nn.Parameter(torch.empty(1, 1, dim))
        self.transformer = blocks(dim, depth, heads)
        self.norm = nn.LayerNorm(dim)
        self.apply(init_weights)
        nn.init.normal_(self.modality, std=0.02)

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, L, 128) -> normalised tokens (B, N, D)."""
        x = self.patch_embed(audio_image(audio)) + self.pos_embed + self.modality
        return self.norm(self.transformer(x))
