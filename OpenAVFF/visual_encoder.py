"""ViT over space-time tubelets: the visual encoder of AVFF and, with MARLIN's weights, of stage 2.

    B batch   C 3 colours   T frames   H, W pixels   D width
    N tokens = (T / tubelet) * (H / patch) * (W / patch), ordered time, row, column

The state_dict keys are those of the released OpenAVFF and MARLIN encoders.

References:
    Cai et al., "MARLIN: Masked Autoencoder for facial video Representation LearnINg", CVPR 2023.
    Tong et al., "VideoMAE", NeurIPS 2022.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from OpenAVFF.stack import Stack


def sinusoid_table(positions: int, dim: int) -> Tensor:
    """Fixed position embedding (1, positions, dim): sine in even, cosine in odd channels (Vaswani et al., 2017)."""
    channel = torch.arange(dim, dtype=torch.float64)
    rate = 10_000 ** (-2 * torch.div(channel, 2, rounding_mode="floor") / dim)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * rate
    table = torch.where(channel.long() % 2 == 0, angle.sin(), angle.cos())
    return table.float()[None]


class PatchEmbedding(nn.Module):
    """(B, C, T, H, W) -> (B, N, D)."""

    def __init__(self, dim: int, tubelet: int, patch: int) -> None:
        super().__init__()
        size = (tubelet, patch, patch)
        self.projection = nn.Conv3d(3, dim, kernel_size=size, stride=size)

    def forward(self, video: Tensor) -> Tensor:
        # On a GPU the matrix product is faster than a 3-D convolution of three channels, on a CPU it is slower.
        return self.product(video) if video.is_cuda else rearrange(self.projection(video), "b d t h w -> b (t h w) d")

    def product(self, video: Tensor) -> Tensor:
        """The projection as a matrix product over the pixels of every tubelet."""
        r, p, q = self.projection.kernel_size
        pixels = rearrange(video, "b c (t r) (h p) (w q) -> b (t h w) (c r p q)", r=r, p=p, q=q)
        return F.linear(pixels, self.projection.weight.flatten(1), self.projection.bias)


class PositionEmbedding(nn.Module):
    """Sinusoidal position embedding; a buffer, so that a released table can be loaded."""

    emb: Tensor

    def __init__(self, positions: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("emb", sinusoid_table(positions, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.emb


class Attention(nn.Module):
    """Multi-head self-attention whose keys have no bias. Without `qkv_bias`, queries and values have none either."""

    q_bias: nn.Parameter | None
    v_bias: nn.Parameter | None

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(out, "b h n d -> b n (h d)"))


class Layer(nn.Module):
    """Linear layer under the name in the released keys."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(dim, hidden), Layer(hidden, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](F.gelu(self.layers[0](x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisualEncoder(nn.Module):
    """ViT over tubelets of 2 frames x 16 x 16 pixels. The defaults are ViT-B on 16 frames of 224x224: 1568 tokens.

    `qkv_bias` is True in MARLIN and False in OpenAVFF. With `keep` below 1, training leaves out all tokens of some
    places of the grid, others for each clip: fewer operations. Evaluation takes every token.

    References:
        Li et al., "Scaling Language-Image Pre-training via Masking", CVPR 2023 (training on a part of the tokens).
        Tong et al., "VideoMAE", NeurIPS 2022 (the same places at all times, as neighbouring frames are alike).
    """

    tubelet = 2
    patch = 16

    def __init__(
        self,
        *,
        frames: int = 16,
        image_size: int = 224,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        qkv_bias: bool = True,
        keep: float = 1.0,
    ) -> None:
        super().__init__()
        self.keep = keep
        side = image_size // self.patch
        self.grid = (frames // self.tubelet, side, side)
        self.tokens = self.grid[0] * side * side
        self.dim = dim
        self.patch_embedding = PatchEmbedding(dim, self.tubelet, self.patch)
        self.pos_embedding = PositionEmbedding(self.tokens, dim)
        self.blocks = Stack(Block(dim, heads, qkv_bias) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.apply(init_weights)

    def init_from_scratch(self) -> None:
        """Draw a patch projection that whitens natural images, for training without pre-trained weights.

        The amplitude of images falls with frequency, so a white random projection is dominated by coarse structure and
        hides the fine detail in which forgeries show. Here each filter's amplitude grows with frequency instead, and
        the features are scaled like the position embedding. On the built-in corpus a small ViT then detects re-drawn
        mouths within a few hundred steps, which it does not with the usual initialisation (benchmarks/README.md).
        """
        weight = self.patch_embedding.projection.weight
        n = torch.arange(self.patch)
        dct = torch.cos(math.pi / len(n) * (n[:, None] + 0.5) * n) * (2 / len(n)) ** 0.5  # (pixel, frequency)
        dct[:, 0] /= 2**0.5
        amplitude = torch.hypot(n[:, None].float(), n.float()).clamp_min(0.5)
        filters = torch.einsum("dctij,xi,yj->dctxy", torch.randn_like(weight) * amplitude, dct, dct)
        with torch.no_grad():
            weight.copy_(filters * (0.8 / filters.std()))

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """video (B, 3, T, H, W) -> normalised tokens (B, N, D) and the normalised mean token (B, D), in one pass.

        The mean is taken before the norm, as MARLIN pools. N are the tokens that are kept, in their order.
        """
        x = self.pos_embedding(self.patch_embedding(video))
        x = self.blocks(self._kept(x) if self.training and self.keep < 1 else x)
        return self.norm(x), self.norm(x.mean(dim=1))

    def _kept(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) -> those of the places that are drawn for each clip."""
        x = rearrange(x, "b (t p) d -> b t p d", t=self.grid[0])
        places = x.shape[2]
        drawn = torch.rand(len(x), places, device=x.device).topk(max(1, round(self.keep * places))).indices
        index = drawn.sort(dim=1).values[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
        return x.gather(2, index).flatten(1, 2)


def init_weights(module: nn.Module) -> None:
    """Initialise linear layers and patch projections Xavier-uniformly; for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.Conv3d):
        # A patch projection is a linear layer over its pixels.
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
