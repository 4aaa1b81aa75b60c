"""SpeechForensics: similarity of AV-HuBERT's features of audio and of video, at the lag where it is largest.

    B batch   T frames, 25 per second   D width   L lags

Nothing is trained. A fake has a low similarity, because its audio and mouth do not say the same.

References:
    Liang et al., "SpeechForensics: Audio-Visual Speech Representation Learning for Face Forgery Detection", NeurIPS
    2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.avhubert_features import FrozenAVHubert, Given
from avdfd.models.lags import REACH, at_lags


class SpeechForensics(nn.Module):
    """Frozen AV-HuBERT with the similarity of its features of audio and video."""

    def __init__(self, encoder: FrozenAVHubert, *, reach: int = REACH) -> None:
        super().__init__()
        self.encoder = encoder
        self.reach = reach

    def forward(self, given: Given) -> Tensor:
        """Features, or inputs of the encoder -> largest similarity (B,)."""
        features = self.encoder(given)
        return lag_similarity(features.video, features.audio, self.reach).amax(dim=1)


def lag_similarity(video: Tensor, audio: Tensor, reach: int = REACH) -> Tensor:
    """Features (B, T, D) of both streams -> mean cosine at each lag (B, L).

    As released, the mean is over all T frames, and a frame without a partner at a lag counts as 0: long lags have lower
    similarities.
    """
    video, audio = (F.normalize(x.float(), dim=-1) for x in (video, audio))
    return torch.einsum("btd,btld->bl", video, at_lags(audio, reach)) / video.shape[1]
