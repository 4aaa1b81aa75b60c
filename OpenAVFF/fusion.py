"""AVFF's A2V and V2A networks: predict the tokens of one modality from those of the other.

    B batch   N tokens of the given, M tokens of the predicted modality   D width

The state_dict keys are those of the released OpenAVFF.

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from OpenAVFF.visual_encoder import Layer


class FusionAttention(nn.Module):
    """Multi-head self-attention with the parameters of nn.MultiheadAttention: (B, M, D) -> (B, M, D).

    Tokens attend to the tokens of their own sample. With `across_samples`, a token attends to the tokens at its own
    place in all samples of the batch instead, as in the released code, which uses the first axis as the sequence.
    """

    def __init__(self, dim: int, heads: int, across_samples: bool) -> None:
        super().__init__()
        self.heads = heads
        self.axes = "n h b d" if across_samples else "b h n d"
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(qkv, f"b n (three h d) -> three {self.axes}", three=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(rearrange(out, f"{self.axes} -> b n (h d)"))


class FusionBlock(nn.Module):
    """Post-norm transformer block with ReLU."""

    def __init__(self, dim: int, heads: int, across_samples: bool) -> None:
        super().__init__()
        self.attention = FusionAttention(dim, heads, across_samples)
        self.fc1 = nn.Linear(dim, dim)
        self.fc2 = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.fc2(F.relu(self.fc1(x))))


class FusionNetwork(nn.Module):
    """A linear layer along the token axis to the other modality's number of tokens, then one transformer block."""

    def __init__(
        self, *, tokens_in: int, tokens_out: int, dim: int = 768, heads: int = 12, across_samples: bool = False
    ) -> None:
        super().__init__()
        self.mlp = Layer(tokens_in, tokens_out)
        self.transformer = FusionBlock(dim, heads, across_samples)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, M, D)."""
        return self.transformer(self.mlp(tokens.transpose(1, 2)).transpose(1, 2))
