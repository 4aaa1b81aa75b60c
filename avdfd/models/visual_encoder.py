"""Stage 2's view of the face: a ViT over tubelets, projected to the width of the audio tokens."""

from torch import nn

from avdfd.config import VisualModelConfig
from OpenAVFF.visual_encoder import VisualEncoder


class VisualBranch(nn.Module):
    """Backbone and projection, called one by one: what a frozen backbone gives can be kept
    (avdfd/training/backbone_cache.py)."""

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
