"""Frozen AV-HuBERT, and the features of each frame that it computes from audio, from video and from both.

    B batch   T frames, 25 per second   F 104 audio features per frame   D width

References:
    Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster Prediction", ICLR 2022.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avdfd.features.frames import normalise
from avdfd.features.mouth_crops import middle
from avdfd.models.avhubert import AVHubert

Stream = Literal["audio", "video", "joint"]


class Features(NamedTuple):
    """Features (B, T, D) of the streams that a system takes; the others are None."""

    audio: Tensor | None = None
    """From audio, with zeros in place of the video features."""
    video: Tensor | None = None
    """From video, with zeros in place of the audio features."""
    joint: Tensor | None = None
    """From both."""


Given = Features | tuple[Tensor, Tensor]
"""Features, or the inputs of AV-HuBERT from which they are computed."""


class FrozenAVHubert(nn.Module):
    """An AV-HuBERT that is never trained: its weights get no gradient, and it stays in eval mode.

    Baselines take several of its streams (`forward`), stage 2a the lips alone (`features`, as in
    `avdfd.models.representations`). `layer` is the transformer layer whose output is taken, from 1; None stands for the
    end of the encoder.
    """

    def __init__(self, avhubert: AVHubert, streams: Collection[Stream], *, layer: int | None = None) -> None:
        super().__init__()
        self.avhubert = avhubert.requires_grad_(False).eval()
        self.streams = frozenset(streams)
        self.layer = layer
        self.width = avhubert.post_extract_proj.out_features

    def train(self, mode: bool = True) -> "FrozenAVHubert":
        """As nn.Module.train, but the encoder stays in eval mode."""
        super().train(mode)
        self.avhubert.eval()
        return self

    def forward(self, given: Given) -> Features:
        """Normalised mouth crops (B, 1, T, H, W) and stacked filter banks (B, F, T), or features -> features."""
        return given if isinstance(given, Features) else self._compute(*given)

    @torch.no_grad()
    def features(self, mouth: Tensor) -> Tensor:
        """uint8 mouth crops (B, T, 96, 96) -> features (B, T, D) of the lips."""
        return self.avhubert(normalise(middle(mouth), "lips"), None, layer=self.layer)

    @torch.no_grad()
    def _compute(self, video: Tensor, audio: Tensor) -> Features:
        given = {"audio": (None, audio), "video": (video, None), "joint": (video, audio)}
        return Features(**{name: self.avhubert(*given[name], layer=self.layer) for name in sorted(self.streams)})
