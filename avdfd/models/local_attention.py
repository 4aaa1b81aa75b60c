"""Network over time whose frames attend to their neighbours only, by how far apart in time they are.

B batch   T frames (25 a second)   C channels   W width   K tokens

References:
    Shaw et al., "Self-attention with relative position representations", NAACL 2018 (positions as distances).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

REACH = 6
"""Frames to either side that a frame attends to: half a second in all."""


class LocalAttention(nn.Module):
    """Attention with heads, where the logit of two frames has a learned term for their distance in time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(heads, 2 * REACH + 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        q, k, v = rearrange(self.qkv(x), "b t (n h w) -> n b h t w", n=3, h=self.heads)
        time = torch.arange(x.shape[1], device=x.device)
        apart = time[None, :] - time[:, None]
        bias = self.distance[:, apart.clamp(-REACH, REACH) + REACH]
        bias = bias.masked_fill(apart.abs() > REACH, -torch.inf).to(q.dtype)
        return self.out(rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=bias), "b h t w -> b t (h w)"))


class LocalLayer(nn.Module):
    """Pre-norm attention and feed-forward layer: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), LocalAttention(width, heads), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class LocalNetwork(nn.Module):
    """Convolution to frames, then layers of local attention; the output is zero at first.

    A frame depends on what is within `kernel` / 2 inputs of it, and on the same of the frames within `depth` times
    `REACH`.
    """

    def __init__(
        self,
        channels: int,
        tokens: int,
        *,
        kernel: int,
        stride: int,
        depth: int,
        width: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.frames = nn.Conv1d(channels, width, kernel, stride=stride)
        self.layers = nn.Sequential(*(LocalLayer(width, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, tokens)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, padded: Tensor) -> Tensor:
        """(B, C, inputs with their context) -> (B, T, K)."""
        x = F.gelu(rearrange(self.frames(padded), "b w t -> b t w"))
        return self.out(self.norm(self.layers(x)))
