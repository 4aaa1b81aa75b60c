"""Visual representations at 25 per second, which a model can predict from audio or compare with it.

B batch   T frames, 25 per second   D width   S side of an image

All are called alike, `video, landmarks -> (B, T, D)`, and state their `width`; each takes what it needs.

              video                                  landmarks
MouthShape    not used                               mouth shape (B, T, 120)
LipFeatures   mouth crops (B, T, 96, 96) uint8       not used
FaceTokens    face crops (B, 3, T, S, S) uint8       not used

Frames of elements are at 25 per second whatever the frame rate of the file, so all of them work at any.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from avdfd.features.frames import normalise
from avdfd.features.mouth_shape import SHAPE
from avdfd.models.avhubert import AVHubert
from avdfd.models.visual_encoder import VisualBranch

_LIPS = 88  # side of the middle of a mouth crop that AV-HuBERT takes


class Representation(Protocol):
    """Any of them."""

    width: int

    def __call__(self, video: Tensor | None, landmarks: Tensor | None) -> Tensor: ...


class MouthShape(nn.Module):
    """The mouth shape itself (`avdfd.features.mouth_shape`), free of head pose."""

    width = SHAPE

    def forward(self, video: Tensor | None, landmarks: Tensor | None) -> Tensor:
        assert landmarks is not None, "mouth shape comes from landmarks"
        return landmarks


class LipFeatures(nn.Module):
    """Features of AV-HuBERT, base or large, from the lips alone; `layer` as in `AVHubert`."""

    def __init__(self, avhubert: AVHubert, *, layer: int | None = None) -> None:
        super().__init__()
        self.avhubert, self.layer = avhubert, layer
        self.width = avhubert.post_extract_proj.out_features

    def forward(self, video: Tensor | None, landmarks: Tensor | None) -> Tensor:
        assert video is not None, "lips are seen in mouth crops"
        edge = (video.shape[-1] - _LIPS) // 2
        middle = video[:, None, :, edge : edge + _LIPS, edge : edge + _LIPS]
        return self.avhubert(normalise(middle, "lips"), None, layer=self.layer)


class FaceTokens(nn.Module):
    """Tokens of a ViT over tubelets, the mean over the face: one for every two frames, repeated for both.

    The ViT is applied to spans of as many frames as it takes (16), one after the other; the last span ends with the
    video, and gives the frames that are left. A video has at least one span.
    """

    def __init__(self, branch: VisualBranch) -> None:
        super().__init__()
        self.branch = branch
        self.width = branch.backbone.dim

    def forward(self, video: Tensor | None, landmarks: Tensor | None) -> Tensor:
        assert video is not None, "tokens come from face crops"
        backbone = self.branch.backbone
        span, count = backbone.grid[0] * backbone.tubelet, video.shape[2]
        assert count >= span, f"{count} frames, of which a span takes {span}"
        parts = []
        for done in range(0, count, span):
            start = min(done, count - span)
            tokens, _ = backbone(self.branch.normalise(video[:, :, start : start + span]))
            moments = tokens.unflatten(1, (backbone.grid[0], -1)).mean(dim=2)
            parts.append(moments.repeat_interleave(backbone.tubelet, dim=1)[:, done - start :])
        return torch.cat(parts, dim=1)
