"""LFCC-LCNN: a light convolutional network with max-feature-map activations and recurrent layers, on LFCCs.

    B batch   S samples   T frames of 10 ms   C channels   K coefficients, 60

`from_released` renames the released weights, whose keys name a list of networks that has one.

References:
    Wang and Yamagishi, "A Comparative Study on Recent Neural Spoofing Countermeasures for Synthetic Speech Detection",
    Interspeech 2021 (LCNN-LSTM-sum).
    Lavrentyeva et al., "STC Antispoofing Systems for the ASVspoof2019 Challenge", Interspeech 2019.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.lfcc import COEFFICIENTS, lfcc
from OpenAVFF.precision import full_precision

_WIDTH = 32 * (3 * COEFFICIENTS // 16)
"""Values of a time step after the convolutions: 32 channels of 3 coefficients."""

# Released prefix -> ours.
_RELEASED = {"m_transform.0.": "convolutions.", "m_before_pooling.0.": "recurrent.", "m_output_act.0.": "out."}
# Constants in a released file: those of the front end, and means and standard deviations that nothing uses.
_CONSTANTS = ("m_frontend.", "input_mean", "input_std", "output_mean", "output_std")


class MaxFeatureMap(nn.Module):
    """The larger of both halves of the channels: (B, 2 C, T, K) -> (B, C, T, K)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*x.chunk(2, dim=1))


class Bidirectional(nn.Module):
    """LSTM in both directions: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.l_blstm = nn.LSTM(dim, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.l_blstm(x)[0]


class Lcnn(nn.Module):
    """Waveform (B, S) in [-1, 1] -> logit (B, 1) of real. S is 2,400 or more."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(*_convolution(1, 64, 5), nn.MaxPool2d(2)),
            *(*_convolution(32, 64, 1), _norm(32), *_convolution(32, 96, 3), nn.MaxPool2d(2), _norm(48)),
            *(*_convolution(48, 96, 1), _norm(48), *_convolution(48, 128, 3), nn.MaxPool2d(2)),
            *(*_convolution(64, 128, 1), _norm(64), *_convolution(64, 64, 3), _norm(32)),
            *(*_convolution(32, 64, 1), _norm(32), *_convolution(32, 64, 3), nn.MaxPool2d(2)),
            nn.Dropout(0.7),
        )
        self.recurrent = nn.Sequential(Bidirectional(_WIDTH), Bidirectional(_WIDTH))
        self.out = nn.Linear(_WIDTH, 1)

    def forward(self, waveform: Tensor) -> Tensor:
        with full_precision(waveform):
            coefficients = lfcc(waveform)
        x = rearrange(self.convolutions(coefficients[:, None]), "b c t k -> b t (c k)")
        x = (x + self.recurrent(x)).mean(dim=1)
        with full_precision(waveform):
            return self.out(x.to(self.out.weight.dtype))


def from_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return released weights under the keys of `Lcnn`, without the constants of the front end.

    Other keys stay, and are reported when they are loaded.
    """
    renamed = {}
    for key, value in weights.items():
        if key.startswith(_CONSTANTS):
            continue
        prefix = next((prefix for prefix in _RELEASED if key.startswith(prefix)), "")
        renamed[_RELEASED.get(prefix, "") + key.removeprefix(prefix)] = value
    return renamed


def _convolution(channels: int, out: int, size: int) -> tuple[nn.Conv2d, MaxFeatureMap]:
    return nn.Conv2d(channels, out, size, padding=size // 2), MaxFeatureMap()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)
