"""Stage 2's view of the face: a ViT over tubelets, projected to the width of the audio tokens."""

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

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """video (B, 3, 16, H, W) -> visual tokens (B, N, D) and the global vector (B, D)."""
        tokens, pooled = self.backbone(video)
        return self.proj(tokens), self.proj(pooled)
