"""The two decoders of AVFF's pre-training: from tokens of both modalities to a filter bank and a video.

    B batch   N tokens   D width of the encoders   L frames of audio   T frames, H, W pixels of video

The state_dict keys are those of the released OpenAVFF, including unused ones.

References:
    Cai et al., "MARLIN: Masked Autoencoder for facial video Representation LearnINg", CVPR 2023.
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from OpenAVFF.audio_encoder import PATCH, blocks, sincos_grid
from OpenAVFF.stack import Stack
from OpenAVFF.visual_encoder import Block, PositionEmbedding, init_weights


class AudioDecoder(nn.Module):
    """Tokens (B, N, D) -> filter bank as an image (B, 1, 128, L).

    `positions=False` leaves out the position and modality embeddings, as the released code does.
    """

    def __init__(
        self,
        *,
        grid: tuple[int, int] = (8, 64),
        encoder_dim: int = 768,
        dim: int = 384,
        depth: int = 4,
        heads: int = 6,
        positions: bool = True,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.positions = positions
        self.decoder_embed = nn.Linear(encoder_dim, dim)
        # No gradient if unused: a distributed step waits for the gradient of every parameter.
        self.decoder_modality = nn.Parameter(torch.empty(1, 1, dim), requires_grad=positions)
        self.decoder_pos_embed = nn.Parameter(sincos_grid(*grid, dim), requires_grad=positions)
        self.blocks = blocks(dim, depth, heads)
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, PATCH**2)
        self.apply(init_weights)
        nn.init.normal_(self.decoder_modality, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.decoder_embed(tokens)
        if self.positions:
            x = x + self.decoder_pos_embed + self.decoder_modality
        patches = self.decoder_pred(self.decoder_norm(self.blocks(x)))
        return rearrange(patches, "b (h w) (p q) -> b 1 (h p) (w q)", h=self.grid[0], p=PATCH)


class VisualDecoder(nn.Module):
    """Tokens (B, N, D) -> video (B, 3, T, H, W)."""

    mask_token: Tensor
    tubelet = 2
    patch = 16

    def __init__(
        self,
        *,
        grid: tuple[int, int, int] = (8, 14, 14),
        encoder_dim: int = 768,
        dim: int = 384,
        depth: int = 4,
        heads: int = 6,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.decoder_patch_embed = nn.Linear(encoder_dim, dim)
        # A released key without use: masked tokens are predicted from the other modality instead.
        self.register_buffer("mask_token", torch.zeros(1, 1, dim))
        self.pos_embedding = PositionEmbedding(grid[0] * grid[1] * grid[2], dim)
        self.blocks = Stack(Block(dim, heads, qkv_bias=False) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 3 * self.tubelet * self.patch**2)
        self.apply(init_weights)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.pos_embedding(self.decoder_patch_embed(tokens)))
        return rearrange(
            self.head(self.norm(x)),
            "b (t h w) (c r p q) -> b c (t r) (h p) (w q)",
            t=self.grid[0],
            h=self.grid[1],
            c=3,
            r=self.tubelet,
            p=self.patch,
        )
