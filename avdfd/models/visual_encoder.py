"""Stage 2's visual encoder: a ViT over tubelets, projected to the width of the audio tokens.

B batch   N visual tokens   W width of the backbone   D width of the audio tokens
"""

from typing import Any

import torch
from torch import Tensor, nn

from avdfd.features import frames
from OpenAVFF.visual_encoder import VisualEncoder


class VisualBranch(nn.Module):
    """Backbone, (B, 3, 16, H, W) -> (B, N, W) and (B, W), and projection W -> D. The defaults are ViT-B as in MARLIN.

    The detector calls the two one by one, so that the output of a frozen backbone can be cached
    (avdfd/training/backbone_cache.py). `normalisation` is the one that the backbone's weights were trained with, `keep`
    the fraction of tokens that it takes in training.
    """

    def __init__(
        self,
        out_dim: int = 512,
        *,
        image_size: int = 224,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        qkv_bias: bool = True,
        normalisation: frames.Normalisation = "imagenet",
        keep: float = 1.0,
    ) -> None:
        super().__init__()
        self.normalisation = normalisation
        sizes: dict[str, Any] = {"image_size": image_size, "dim": dim, "depth": depth, "heads": heads}
        self.backbone = VisualEncoder(**sizes, qkv_bias=qkv_bias, keep=keep)
        self.proj = nn.Linear(dim, out_dim)

    def normalise(self, video: Tensor) -> Tensor:
        """uint8 video (B, 3, 16, H, W) -> the backbone's input; floats are taken to be normalised already."""
        return frames.normalise(video, self.normalisation) if video.dtype == torch.uint8 else video
