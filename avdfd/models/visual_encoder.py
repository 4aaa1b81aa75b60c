"""Stage 2's view of the face: a ViT over tubelets, projected to the width of the audio tokens."""

import math

import torch
from torch import Tensor, nn

from avdfd.config import VisualModelConfig
from OpenAVFF.visual_encoder import VisualEncoder


class VisualBranch(nn.Module):
    """Backbone and projection. The backbone runs once and gives both the tokens and the global vector."""

    def __init__(self, config: VisualModelConfig, dim: int) -> None:
        super().__init__()
        self.backbone = VisualEncoder(
            image_size=config.image_size,
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            qkv_bias=config.init != "openavff",
        )
        self.proj = nn.Linear(config.dim, dim)

    def init_from_scratch(self) -> None:
        """Draws a patch projection that whitens natural images, for training without pre-trained weights.

        Pictures have amplitudes that fall with frequency, so that under a white random projection the fine detail
        in which forgeries show drowns in the coarse. Here each filter's amplitude grows with frequency instead, and
        the features get the size of the position embedding. On the built-in corpus a small ViT then finds re-drawn
        mouths within a few hundred steps, which with the usual initialisation it does not (benchmarks/README.md).
        """
        weight = self.backbone.patch_embedding.projection.weight
        n = torch.arange(self.backbone.patch)
        dct = torch.cos(math.pi / len(n) * (n[:, None] + 0.5) * n) * (2 / len(n)) ** 0.5  # (pixel, frequency)
        dct[:, 0] /= 2**0.5
        amplitude = torch.hypot(n[:, None].float(), n.float()).clamp_min(0.5)
        filters = torch.einsum("dctij,xi,yj->dctxy", torch.randn_like(weight) * amplitude, dct, dct)
        with torch.no_grad():
            weight.copy_(filters * (0.8 / filters.std()))

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """video (B, 3, 16, H, W) -> visual tokens (B, N, D) and the global vector (B, D)."""
        tokens, pooled = self.backbone(video)
        return self.proj(tokens), self.proj(pooled)
