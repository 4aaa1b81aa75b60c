"""Linear probe of a frozen AV-HuBERT: one linear layer per frame, and log-sum-exp over the frames.

    B batch   T frames, 25 per second   D width

References:
    Boldisor et al., "Investigating self-supervised representations for audio-visual deepfake detection", arXiv
    2511.17181, 2025.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.avhubert_features import FrozenAVHubert, Given


class LinearProbe(nn.Module):
    """Frozen AV-HuBERT with one linear layer on its normalised features, those of several streams side by side."""

    def __init__(self, encoder: FrozenAVHubert, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(len(encoder.streams) * dim, 1)

    def forward(self, given: Given) -> Tensor:
        """Features, or inputs of the encoder -> score of each frame (B, T), high for a fake."""
        features = self.encoder(given)
        parts = [
            F.normalize(x.float(), dim=-1) for x in (features.video, features.audio, features.joint) if x is not None
        ]
        return self.head(torch.cat(parts, dim=-1)).squeeze(-1)


def clip_logit(frames: Tensor) -> Tensor:
    """Scores of frames (B, T) -> logit (B,) of the clip being fake.

    As released, the two classes have the logits s and -s, with s the log-sum-exp over the frames; so this is 2 s.
    """
    return 2 * frames.logsumexp(dim=1)
