"""Network of VFD 2023: a ViT with CLIP's architecture, for faces and for mels.

    B batch   N tokens   D width   C channels (3 or 1)   H, W pixels of a face, or bins and frames of a mel

The state_dict keys are those of the released VisualTransformer and AuditoryTransformer.

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", ACM TOMM 20 (3), 2023.
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.core.errors import UserError
from OpenAVFF.precision import full_precision
from OpenAVFF.stack import Stack


class ClipAttention(nn.Module):
    """Multi-head self-attention with the keys of `nn.MultiheadAttention`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        return self.out_proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class ClipMlp(nn.Module):
    """Linear, the sigmoid approximation of GELU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))


class ClipBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = ClipAttention(dim, heads)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = ClipMlp(dim)
        self.ln_2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class PatchTransformer(nn.Module):
    """A network of 2023: (B, C, H, W) of `input_size` (C, H, W) -> embedding (B, out_dim).

    Rows and columns beyond the last whole patch are ignored. Raises UserError if the input is smaller than a patch.
    """

    def __init__(
        self,
        input_size: tuple[int, int, int] = (3, 224, 224),
        *,
        patch: int = 32,
        dim: int = 768,
        layers: int = 12,
        heads: int = 12,
        out_dim: int = 512,
    ) -> None:
        super().__init__()
        channels, rows, columns = input_size[0], input_size[1] // patch, input_size[2] // patch
        if not rows * columns:
            raise UserError(f"an input of {input_size[1]}x{input_size[2]} has no patch of {patch}x{patch}; enlarge it")
        self.conv1 = nn.Conv2d(channels, dim, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(dim**-0.5 * torch.randn(dim))
        self.positional_embedding = nn.Parameter(dim**-0.5 * torch.randn(rows * columns + 1, dim))
        self.ln_pre = nn.LayerNorm(dim)
        self.transformer = nn.ModuleDict({"resblocks": Stack(ClipBlock(dim, heads) for _ in range(layers))})
        self.ln_post = nn.LayerNorm(dim)
        self.proj = nn.Parameter(dim**-0.5 * torch.randn(dim, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        patches = rearrange(self.conv1(x), "b d h w -> b (h w) d")
        tokens = torch.cat([self.class_embedding.expand(len(x), 1, -1), patches], dim=1)
        tokens = self.transformer["resblocks"](self.ln_pre(tokens + self.positional_embedding))
        with full_precision(x):
            return self.ln_post(tokens[:, 0].float()) @ self.proj
