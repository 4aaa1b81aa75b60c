"""Networks of VFD 2022: convolutions, whose map is projected to one token beside a class token; then a transformer.

    B batch   N tokens (2)   D width   C channels (3 or 1)   H, W pixels of a face, or bins and frames of a mel

The state_dict keys are those of the released CViT (face) and CAiT (voice).

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195, 2022.
    Wodajo and Atnafu, "Deepfake Video Detection Using Convolutional Vision Transformer", 2021.
"""

import copy

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.core.errors import UserError
from OpenAVFF.precision import Float32
from OpenAVFF.stack import Stack


class Attention(nn.Module):
    """Multi-head self-attention of 2022, scaled by the model width instead of the head width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v, scale=x.shape[-1] ** -0.5)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class PreNorm(nn.Module):
    """`fn` applied to the normalised input."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    """`fn` with a skip connection."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class Transformer(nn.Module):
    """Pre-norm transformer without a final norm: (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, depth: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = Stack(
            nn.Sequential(
                Residual(PreNorm(dim, Attention(dim, heads))), Residual(PreNorm(dim, FeedForward(dim, mlp_dim)))
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ConvTransformer(nn.Module):
    """A network of 2022: (B, C, H, W) of `input_size` (C, H, W) -> non-negative embedding (B, mlp_dim).

    Row n of the position embedding is added to token n. `faithful` adds row i to all tokens of sample i instead, as
    the released code does, so that an embedding depends on the sample's place in the batch.
    """

    def __init__(
        self,
        features: nn.Sequential,
        input_size: tuple[int, int, int],
        *,
        dim: int = 1024,
        depth: int = 6,
        heads: int = 8,
        mlp_dim: int = 2048,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        self.faithful = faithful
        self.features = features
        self.pos_embedding = nn.Parameter(torch.randn(32, 1, dim))
        self.patch_to_embedding = nn.Linear(_map_size(features, input_size), dim)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.transformer = Transformer(dim, depth, heads, mlp_dim)
        self.mlp_head = Float32(nn.Linear(dim, mlp_dim), nn.ReLU())
        self.apply(_init_weights)

    def forward(self, x: Tensor) -> Tensor:
        # Convolutions and norms are faster with the channels last in memory.
        features = self.features(x.contiguous(memory_format=torch.channels_last))
        token = self.patch_to_embedding(rearrange(features, "b c h w -> b 1 (h w c)"))
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), token], dim=1)
        return self.mlp_head(self.transformer(tokens + self._positions(tokens))[:, 0])

    def _positions(self, tokens: Tensor) -> Tensor:
        batch, count, _ = tokens.shape
        if not self.faithful:
            return rearrange(self.pos_embedding[:count], "n 1 d -> 1 n d")
        if batch > len(self.pos_embedding):
            raise UserError(
                f"VFD 2022 as released takes at most {len(self.pos_embedding)} samples per batch, not {batch}; lower "
                "batch_size, or set faithful to false"
            )
        return self.pos_embedding[:batch]


def face_network(*, image_size: int = 224, width: float = 1.0, faithful: bool = False, **sizes: int) -> ConvTransformer:
    """Return the face network of 2022 (CViT): (B, 3, image_size, image_size) -> (B, mlp_dim).

    `width` multiplies the channels; `sizes` are those of `ConvTransformer`. Raises UserError if image_size is below 32.
    """
    if image_size < 32:
        raise UserError(f"image_size {image_size}: VFD 2022 halves a face five times; use 32 or more")
    layers: list[nn.Module] = []
    before = 3
    for published, count in ((32, 3), (64, 3), (128, 3), (256, 4), (512, 4)):
        channels = round(width * published)
        for _ in range(count):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        layers.append(nn.MaxPool2d(2))
    return ConvTransformer(nn.Sequential(*layers), (3, image_size, image_size), faithful=faithful, **sizes)


def voice_network(
    *, mel_size: tuple[int, int] = (512, 301), width: float = 1.0, faithful: bool = False, **sizes: int
) -> ConvTransformer:
    """Return the voice network of 2022 (CAiT): (B, 1, *mel_size) -> (B, mlp_dim).

    `width` multiplies the channels; `sizes` are those of `ConvTransformer`. Each sample is normalised by its own
    statistics. `faithful` normalises by those of the batch, in evaluation too, as the released code does; with a batch
    of one, both are the same.
    """
    narrow, wide = round(96 * width), round(256 * width)

    def block(before: int, channels: int, kernel: int, stride: int) -> list[nn.Module]:
        norm = (
            nn.BatchNorm2d(channels, track_running_stats=False)
            if faithful
            else nn.InstanceNorm2d(channels, affine=True)
        )
        return [nn.Conv2d(before, channels, kernel, stride), norm, nn.ReLU()]

    features = nn.Sequential(
        *block(1, narrow, 7, 2),
        nn.MaxPool2d(2),
        *block(narrow, wide, 5, 2),
        nn.MaxPool2d(2),
        *block(wide, wide, 3, 1),
        *block(wide, wide, 3, 1),
        *block(wide, wide, 3, 1),
        nn.MaxPool2d((3, 2)),
    )
    return ConvTransformer(features, (1, *mel_size), faithful=faithful, **sizes)


def _map_size(features: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Number of values in the convolutions' output, found on the meta device without computing it."""
    shapes_only = copy.deepcopy(features).to("meta")
    return shapes_only(torch.empty(2, *input_size, device="meta"))[0].numel()


def _init_weights(module: nn.Module) -> None:
    """As released: N(0, 0.02) for weights, N(1, 0.02) for the scales of 2-D norms, zero biases."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
