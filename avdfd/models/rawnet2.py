"""RawNet2 against spoofing, the raw-waveform baseline of ASVspoof 2021.

    B batch   S samples   C channels   T time steps, 29 of 64,600 samples

The state_dict keys are those of the released model.

References:
    Tak et al., "End-to-End Anti-Spoofing with RawNet2", ICASSP 2021.
    Jung et al., "Improved RawNet with Feature Map Scaling for Text-Independent Speaker Verification Using Raw
    Waveforms", Interspeech 2020.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.sinc import sinc_filters
from OpenAVFF.precision import full_precision

_BANDS, _TAPS = 20, 1025
_SLOPE = 0.3
"""Slope of the leaky ReLU below zero."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, then a third of the time steps: (B, C, T) -> (B, C', T / 3).

    The design activates the input first. The released code computes that and does not use it (`faithful`).
    """

    def __init__(self, channels: int, out: int, *, first: bool = False, faithful: bool = False) -> None:
        super().__init__()
        self.activated = not first and not faithful
        if not first:
            self.bn1 = nn.BatchNorm1d(channels).requires_grad_(not faithful)
        self.conv1 = nn.Conv1d(channels, out, 3, padding=1)
        self.bn2 = nn.BatchNorm1d(out)
        self.conv2 = nn.Conv1d(out, out, 3, padding=1)
        if channels != out:
            self.conv_downsample = nn.Conv1d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.conv_downsample(x) if hasattr(self, "conv_downsample") else x
        if self.activated:
            x = F.leaky_relu(self.bn1(x), _SLOPE)
        x = self.conv2(F.leaky_relu(self.bn2(self.conv1(x)), _SLOPE))
        return F.max_pool1d(x + shortcut, 3)


class RawNet2(nn.Module):
    """Waveform (B, S) in [-1, 1] -> logits (B, 2) of fake and real. S is 3,211 or more.

    `channels` are those of the first two and the last four blocks, `hidden` the width of the recurrent layers.
    """

    filters: Tensor

    def __init__(
        self, *, channels: tuple[int, int] = (20, 128), hidden: int = 1024, layers: int = 3, faithful: bool = False
    ) -> None:
        super().__init__()
        first, last = channels
        self.register_buffer("filters", sinc_filters(_BANDS, _TAPS)[:, None], persistent=False)
        self.first_bn = nn.BatchNorm1d(_BANDS)
        steps = [(_BANDS, first), (first, first), (first, last), (last, last), (last, last), (last, last)]
        self.blocks = len(steps)
        for i, step in enumerate(steps):
            self.add_module(f"block{i}", nn.Sequential(ResidualBlock(*step, first=i == 0, faithful=faithful)))
            self.add_module(f"fc_attention{i}", nn.Sequential(nn.Linear(step[1], step[1])))
        self.bn_before_gru = nn.BatchNorm1d(last)
        self.gru = nn.GRU(last, hidden, layers, batch_first=True)
        self.fc1_gru = nn.Linear(hidden, hidden)
        self.fc2_gru = nn.Linear(hidden, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        # ---- filter bank, and blocks whose feature maps are scaled: (B, C, T)
        bands = F.conv1d(waveform[:, None], self.filters)
        x = F.selu(self.first_bn(F.max_pool1d(bands.abs(), 3)))
        for i in range(self.blocks):
            x = self.get_submodule(f"block{i}")(x)
            scale = self.get_submodule(f"fc_attention{i}")(x.mean(dim=2)).sigmoid()[:, :, None]
            x = x * scale + scale

        # ---- recurrent layers, of which the last state is classified
        states, _ = self.gru(rearrange(F.selu(self.bn_before_gru(x)), "b c t -> b t c"))
        with full_precision(waveform):
            return self.fc2_gru(self.fc1_gru(states[:, -1].to(self.fc1_gru.weight.dtype)))
