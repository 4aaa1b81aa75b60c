"""AASIST: audio anti-spoofing by graph attention over the spectrum and over time. AASIST-L is its small version.

    B batch   S samples   C channels   F spectral nodes, 23   T temporal nodes, 29 of 64,600 samples

The state_dict keys are those of the released models.

References:
    Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022.
    Tak et al., "End-to-End Spectro-Temporal Graph Attention Networks for Speaker Verification Anti-Spoofing and Speech
    Deepfake Detection", ASVspoof 2021 (the encoder).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.sinc import sinc_filters
from avdfd.models.graphs import Graphs
from OpenAVFF.precision import full_precision

_BANDS, _TAPS = 70, 129
_NODES = _BANDS // 3
"""Spectral nodes."""

SIZES: dict[str, dict[str, Any]] = {
    "aasist": {"channels": (32, 64), "widths": (64, 32), "ratios": (0.5, 0.7, 0.5)},
    "aasist-l": {"channels": (32, 24), "widths": (24, 32), "ratios": (0.4, 0.5, 0.7)},
}
"""Arguments of `Aasist` for the released models."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, then a third of the time steps: (B, C, F, T) -> (B, C', F, T / 3).

    Not `pooled`, all time steps stay.
    The design activates the input first. The released code computes that and does not use it (`faithful`).
    """

    def __init__(
        self, channels: int, out: int, *, first: bool = False, pooled: bool = True, faithful: bool = False
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.activated = not first and not faithful
        if not first:
            self.bn1 = nn.BatchNorm2d(channels).requires_grad_(not faithful)
        self.conv1 = nn.Conv2d(channels, out, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, (2, 3), padding=(0, 1))
        if channels != out:
            self.conv_downsample = nn.Conv2d(channels, out, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.conv_downsample(x) if hasattr(self, "conv_downsample") else x
        if self.activated:
            x = F.selu(self.bn1(x))
        x = self.conv2(F.selu(self.bn2(self.conv1(x))))
        return F.max_pool2d(x + shortcut, (1, 3)) if self.pooled else x + shortcut


class Nodes(NamedTuple):
    """Nodes of the encoder's output, which the graphs take."""

    spectral: Tensor
    """(B, F, C)."""
    temporal: Tensor
    """(B, T, C)."""


class Aasist(Graphs):
    """Waveform (B, S) in [-1, 1], or its nodes -> logits (B, 2) of fake and real.

    `channels` are those of the first and the last blocks, `widths` those of the graphs of one and of both kinds of
    nodes, `ratios` the shares of spectral, temporal and mixed nodes that pooling keeps. S is 2,315 or more. `frozen`
    excludes the encoder from training, the statistics of its batch norms included.
    """

    filters: Tensor

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64),
        widths: Sequence[int] = (64, 32),
        ratios: Sequence[float] = (0.5, 0.7, 0.5),
        faithful: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        first, last = channels
        self.frozen = frozen
        self.register_buffer("filters", sinc_filters(_BANDS, _TAPS)[:, None], persistent=False)
        self.first_bn = nn.BatchNorm2d(1)
        steps = [(1, first), (first, first), (first, last), (last, last), (last, last), (last, last)]
        self.encoder = nn.Sequential(
            *(nn.Sequential(ResidualBlock(*step, first=i == 0, faithful=faithful)) for i, step in enumerate(steps))
        )
        self.add_graphs(channels=last, nodes=_NODES, widths=widths, ratios=ratios)
        self.drop = nn.Dropout(0.5)
        self.out_layer = nn.Linear(5 * widths[1], 2)
        if frozen:
            self.first_bn.requires_grad_(False)
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "Aasist":
        """As nn.Module.train, but a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.first_bn.eval()
            self.encoder.eval()
        return self

    def nodes(self, waveform: Tensor) -> Nodes:
        """Return what the filter bank and the encoder find in a waveform (B, S)."""
        bands = F.conv1d(waveform[:, None], self.filters)[:, None]
        x = self.encoder(F.selu(self.first_bn(F.max_pool2d(bands.abs(), 3)))).abs()  # (B, C, F, T)
        return Nodes(rearrange(x.amax(dim=3), "b c f -> b f c"), rearrange(x.amax(dim=2), "b c t -> b t c"))

    def forward(self, given: Tensor | Nodes) -> Tensor:
        nodes = given if isinstance(given, Nodes) else self.nodes(given)
        features = self.read_out(*nodes)
        with full_precision(nodes.spectral):
            return self.out_layer(self.drop(features.to(self.out_layer.weight.dtype)))
