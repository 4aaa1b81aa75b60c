"""AVH-Align: a head that recognises which audio frame belongs to a video frame, on frozen AV-HuBERT features.

    B batch   T frames, 25 per second   D width of AV-HuBERT   W width of the head   L lags

It is trained on real clips alone. Its output for a video frame and the audio frame of the same moment is high if both
belong together.

References:
    Smeu et al., "Circumventing shortcuts in audio-visual deepfake detection datasets with unsupervised learning", CVPR
    2025.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.avhubert_features import FrozenAVHubert, Given
from avdfd.models.lags import REACH, at_lags


class AlignmentHead(nn.Module):
    """Alignment of audio and video features (..., D) with each other: (...,).

    The state_dict keys are the released ones. Released sizes: D 1024, W 1024, then layers of 512, 256 and 128.
    """

    def __init__(self, *, dim: int = 1024, width: int = 1024) -> None:
        super().__init__()
        self.visual_proj = nn.Linear(dim, width // 2)
        self.audio_proj = nn.Linear(dim, width // 2)
        sizes = [width, width // 2, width // 4, width // 8]
        layers: list[nn.Module] = []
        for given, size in pairwise(sizes):
            layers += [nn.Linear(given, size), nn.LayerNorm(size), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        video, audio = torch.broadcast_tensors(self.visual_proj(video), self.audio_proj(audio))
        return self.mlp(torch.cat([video, audio], dim=-1)).squeeze(-1)


class AvhAlign(nn.Module):
    """Frozen AV-HuBERT with the alignment head."""

    def __init__(self, encoder: FrozenAVHubert, head: AlignmentHead, *, reach: int = REACH) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.reach = reach

    def forward(self, given: Given, *, lags: bool = False) -> Tensor:
        """Features, or inputs of the encoder -> alignment of each frame with its audio (B, T); `lags`: (B, T, L)."""
        features = self.encoder(given)
        video, audio = (F.normalize(x.float(), dim=-1) for x in (features.video, features.audio))
        if not lags:
            return self.head(video, audio)
        return self.head(video[:, :, None], at_lags(audio, self.reach))


def alignment_loss(alignment: Tensor) -> Tensor:
    """Alignment at all lags (B, T, L) -> cross-entropy (B,) of lag 0 among them, mean over the frames.

    As released, frames beyond the clip take part with features of zeros.
    """
    return -alignment.log_softmax(dim=-1)[..., alignment.shape[-1] // 2].mean(dim=1)


def misalignment(alignment: Tensor) -> tuple[Tensor, Tensor]:
    """Alignment of each frame (B, T) -> mean, and log of the mean exponential, of its negative: (B,) each.

    The released score is the log of the sum, which is larger by log T: the same ranking for windows of one length, and
    one that grows with length for others.
    """
    negative = -alignment
    return negative.mean(dim=1), negative.logsumexp(dim=1) - math.log(negative.shape[1])
