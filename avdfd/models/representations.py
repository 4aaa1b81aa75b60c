"""Visual representations at 25 per second, which a model can predict from audio or compare with it.

B batch   T frames, 25 per second   D width   S side of an image

All are called alike, `mouth -> (B, T, D)`, and state their `width`. What they take is made of the frames and landmarks
of an element by `avdfd.datasets.mouths`.

                  mouth                                    from
MouthShape        mouth shape (B, T, 120)                  landmarks
FrozenAVHubert    mouth crops (B, T, 96, 96) uint8         frames and landmarks
FaceTokens        face crops (B, 3, T, S, S) uint8         frames

Frames of elements are at 25 per second whatever the frame rate of the file, so all of them work at any.
"""

import torch
from torch import Tensor, nn

from avdfd.features import frames
from avdfd.features.mouth_shape import SHAPE
from avdfd.models.avhubert_features import FrozenAVHubert
from OpenAVFF.visual_encoder import VisualEncoder


class MouthShape(nn.Module):
    """The mouth shape itself (`avdfd.features.mouth_shape`), free of head pose."""

    width = SHAPE

    def features(self, mouth: Tensor) -> Tensor:
        """Mouth shape (B, T, 120) -> the same."""
        return mouth


class FaceTokens(nn.Module):
    """Tokens of a frozen ViT over tubelets, the mean over the face: one for every two frames, repeated for both.

    The ViT is applied to spans of as many frames as it takes (16), one after the other; the last span ends with the
    video, and gives the frames that are left. A video has at least one span. `normalisation` is the one that the ViT
    was trained with.
    """

    def __init__(self, backbone: VisualEncoder, *, normalisation: frames.Normalisation = "imagenet") -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.normalisation = normalisation
        self.width = backbone.dim

    def train(self, mode: bool = True) -> "FaceTokens":
        """As nn.Module.train, but the ViT stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def features(self, mouth: Tensor) -> Tensor:
        """uint8 face crops (B, 3, T, S, S) -> (B, T, D)."""
        backbone, count = self.backbone, mouth.shape[2]
        span = backbone.grid[0] * backbone.tubelet
        assert count >= span, f"{count} frames, of which a span takes {span}"
        parts = []
        for done in range(0, count, span):
            start = min(done, count - span)
            tokens, _ = backbone(frames.normalise(mouth[:, :, start : start + span], self.normalisation))
            moments = tokens.unflatten(1, (backbone.grid[0], -1)).mean(dim=2)
            parts.append(moments.repeat_interleave(backbone.tubelet, dim=1)[:, done - start :])
        return torch.cat(parts, dim=1)


Representation = MouthShape | FrozenAVHubert | FaceTokens
"""Any of them."""
