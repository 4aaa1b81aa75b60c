"""SLS, sensitive layer selection: all layers of a pretrained speech encoder, weighted by a gate of each clip's own.

    B batch   S samples   L layers   T tokens, 201 of 64,600 samples   E their width

The state_dict keys outside of the encoder are those of the released model.

References:
    Zhang et al., "Audio Deepfake Detection with Self-Supervised XLS-R and SLS Classifier", ACM Multimedia 2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.models.front_ends.wav2vec2 import Wav2Vec2, tokens_of
from OpenAVFF.precision import full_precision

_HIDDEN = 1024


class Sls(nn.Module):
    """Waveform (B, `samples`) in [-1, 1] -> logits (B, 2) of fake and real, both above SELU's floor of -1.76.

    `dim` is the width of the encoder's tokens, which is trained as a whole. The released code gives it audio that is
    not normalised, unlike that it was pretrained on (`faithful`).
    """

    def __init__(self, encoder: Wav2Vec2, dim: int, *, samples: int, faithful: bool = False) -> None:
        super().__init__()
        self.first_bn = nn.BatchNorm2d(1)
        self.fc0 = nn.Linear(dim, 1)
        self.fc1 = nn.Linear((tokens_of(samples) // 3) * (dim // 3), _HIDDEN)
        self.fc3 = nn.Linear(_HIDDEN, 2)
        self.ssl_model = encoder
        if encoder.final_norm is not None:
            encoder.final_norm.requires_grad_(False)  # the layers are taken without it
        if faithful:
            encoder.normalise = False

    def forward(self, waveform: Tensor) -> Tensor:
        states = torch.stack(self.ssl_model(waveform, normed=False)[1:], dim=1)  # (B, L, T, E)
        gates = self.fc0(states.mean(dim=2)).sigmoid()[..., 0]
        image = torch.einsum("b l t e, b l -> b t e", states, gates)[:, None]
        x = F.max_pool2d(F.selu(self.first_bn(image)), 3).flatten(1)
        with full_precision(waveform):
            return F.selu(self.fc3(F.selu(self.fc1(x.to(self.fc1.weight.dtype)))))
