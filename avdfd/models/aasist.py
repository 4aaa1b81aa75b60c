"""AASIST: audio anti-spoofing by graph attention over the spectrum and over time. AASIST-L is its small version.

    B batch   S samples   C channels   F spectral nodes, 23   T temporal nodes, 29 of 64,600 samples   N nodes   D width

The state_dict keys are those of the released models.

References:
    Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022.
    Tak et al., "End-to-End Spectro-Temporal Graph Attention Networks for Speaker Verification Anti-Spoofing and Speech
    Deepfake Detection", ASVspoof 2021 (the encoder).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.sinc import sinc_filters
from OpenAVFF.precision import full_precision

_BANDS, _TAPS = 70, 129
_NODES = _BANDS // 3
"""Spectral nodes."""
_TEMPERATURE, _MIXED_TEMPERATURE = 2.0, 100.0

SIZES: dict[str, dict[str, Any]] = {
    "aasist": {"channels": (32, 64), "widths": (64, 32), "ratios": (0.5, 0.7, 0.5)},
    "aasist-l": {"channels": (32, 24), "widths": (24, 32), "ratios": (0.4, 0.5, 0.7)},
}
"""Arguments of `Aasist` for the released models."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, then a third of the time steps: (B, C, F, T) -> (B, C', F, T / 3).

    The design activates the input first. The released code computes that and does not use it (`faithful`).
    """

    def __init__(self, channels: int, out: int, *, first: bool = False, faithful: bool = False) -> None:
        super().__init__()
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
        return F.max_pool2d(x + shortcut, (1, 3))


class GraphAttention(nn.Module):
    """Graph attention on a complete graph: (B, N, D) -> (B, N, D')."""

    def __init__(self, dim: int, out: int, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.att_proj = nn.Linear(dim, out)
        self.att_weight = _weight(out)
        self.proj_with_att = nn.Linear(dim, out)
        self.proj_without_att = nn.Linear(dim, out)
        self.bn = nn.BatchNorm1d(out)
        self.input_drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_drop(x)
        attention = _attention(_pairs(x, self.att_proj) @ self.att_weight, self.temperature)
        return _activated(self.proj_with_att(attention @ x) + self.proj_without_att(x), self.bn)


class MixedGraphAttention(nn.Module):
    """Attention on a graph of two kinds of nodes, and a master node that attends to all of them.

    Temporal nodes (B, T, D), spectral nodes (B, F, D), master (1 or B, 1, D) -> the same three of width D'.
    """

    def __init__(self, dim: int, out: int, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.proj_type1 = nn.Linear(dim, dim)
        self.proj_type2 = nn.Linear(dim, dim)
        self.att_proj = nn.Linear(dim, out)
        self.att_projM = nn.Linear(dim, out)
        self.att_weight11 = _weight(out)
        self.att_weight22 = _weight(out)
        self.att_weight12 = _weight(out)
        self.att_weightM = _weight(out)
        self.proj_with_att = nn.Linear(dim, out)
        self.proj_without_att = nn.Linear(dim, out)
        self.proj_with_attM = nn.Linear(dim, out)
        self.proj_without_attM = nn.Linear(dim, out)
        self.bn = nn.BatchNorm1d(out)
        self.input_drop = nn.Dropout(0.2)

    def forward(self, temporal: Tensor, spectral: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.cat([self.proj_type1(temporal), self.proj_type2(spectral)], dim=1)
        x = self.input_drop(x)
        logits = torch.tanh(self.att_projM(x * master)) @ self.att_weightM
        to_master = rearrange((logits / self.temperature).softmax(dim=1), "b n 1 -> b 1 n")
        master = self.proj_with_attM(to_master @ x) + self.proj_without_attM(master)
        attention = _attention(self._logits(x, temporal.shape[1]), self.temperature)
        x = _activated(self.proj_with_att(attention @ x) + self.proj_without_att(x), self.bn)
        return *x.split([temporal.shape[1], spectral.shape[1]], dim=1), master

    def _logits(self, x: Tensor, temporal: int) -> Tensor:
        """Nodes (B, N, D) -> logits (B, N, N, 1), with a weight for each of the three kinds of pairs."""
        kind = (torch.arange(x.shape[1], device=x.device) >= temporal).long()
        pairs = kind[:, None] + kind
        weights = torch.cat([self.att_weight11, self.att_weight12, self.att_weight22], dim=1)
        logits = _pairs(x, self.att_proj) @ weights
        return logits.gather(-1, pairs[None, :, :, None].expand(len(x), -1, -1, 1))


class GraphPool(nn.Module):
    """Keep the nodes with the highest scores, multiplied by them: (B, N, D) -> (B, max(1, ratio N), D)."""

    def __init__(self, dim: int, *, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.proj = nn.Linear(dim, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.proj(self.drop(x)).sigmoid()
        kept = scores.topk(max(int(x.shape[1] * self.ratio), 1), dim=1).indices
        return (x * scores).gather(1, kept.expand(-1, -1, x.shape[2]))


class Aasist(nn.Module):
    """Waveform (B, S) in [-1, 1] -> logits (B, 2) of fake and real.

    `channels` are those of the first and the last blocks, `widths` those of the graphs of one and of both kinds of
    nodes, `ratios` the shares of spectral, temporal and mixed nodes that pooling keeps. S is 2,315 or more.
    """

    filters: Tensor

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64),
        widths: Sequence[int] = (64, 32),
        ratios: Sequence[float] = (0.5, 0.7, 0.5),
        faithful: bool = False,
    ) -> None:
        super().__init__()
        (first, last), (dim, mixed), (spectral, temporal, both) = channels, widths, ratios
        self.register_buffer("filters", sinc_filters(_BANDS, _TAPS)[:, None], persistent=False)
        self.first_bn = nn.BatchNorm2d(1)
        steps = [(1, first), (first, first), (first, last), (last, last), (last, last), (last, last)]
        self.encoder = nn.Sequential(
            *(nn.Sequential(ResidualBlock(*step, first=i == 0, faithful=faithful)) for i, step in enumerate(steps))
        )
        self.pos_S = nn.Parameter(torch.randn(1, _NODES, last))
        self.master1 = nn.Parameter(torch.randn(1, 1, dim))
        self.master2 = nn.Parameter(torch.randn(1, 1, dim))
        self.GAT_layer_S = GraphAttention(last, dim, temperature=_TEMPERATURE)
        self.GAT_layer_T = GraphAttention(last, dim, temperature=_TEMPERATURE)
        self.HtrgGAT_layer_ST11 = MixedGraphAttention(dim, mixed, temperature=_MIXED_TEMPERATURE)
        self.HtrgGAT_layer_ST12 = MixedGraphAttention(mixed, mixed, temperature=_MIXED_TEMPERATURE)
        self.HtrgGAT_layer_ST21 = MixedGraphAttention(dim, mixed, temperature=_MIXED_TEMPERATURE)
        self.HtrgGAT_layer_ST22 = MixedGraphAttention(mixed, mixed, temperature=_MIXED_TEMPERATURE)
        self.pool_S = GraphPool(dim, ratio=spectral)
        self.pool_T = GraphPool(dim, ratio=temporal)
        self.pool_hS1 = GraphPool(mixed, ratio=both)
        self.pool_hT1 = GraphPool(mixed, ratio=both)
        self.pool_hS2 = GraphPool(mixed, ratio=both)
        self.pool_hT2 = GraphPool(mixed, ratio=both)
        self.drop_way = nn.Dropout(0.2)
        self.drop = nn.Dropout(0.5)
        self.out_layer = nn.Linear(5 * mixed, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        # ---- filter bank and encoder: (B, C, F, T)
        bands = F.conv1d(waveform[:, None], self.filters)[:, None]
        x = self.encoder(F.selu(self.first_bn(F.max_pool2d(bands.abs(), 3))))

        # ---- a graph of the spectrum, and one of time
        spectral = self.pool_S(self.GAT_layer_S(rearrange(x.abs().amax(dim=3), "b c f -> b f c") + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(rearrange(x.abs().amax(dim=2), "b c t -> b t c")))

        # ---- two branches over both graphs, of which the larger values remain
        one = self.mixed(temporal, spectral, 1)
        two = self.mixed(temporal, spectral, 2)
        temporal, spectral, master = (
            torch.maximum(self.drop_way(a), self.drop_way(b)) for a, b in zip(one, two, strict=True)
        )
        nodes = [part for x in (temporal, spectral) for part in (x.abs().amax(dim=1), x.mean(dim=1))]
        with full_precision(waveform):
            return self.out_layer(self.drop(torch.cat([*nodes, master[:, 0]], dim=1).to(self.out_layer.weight.dtype)))

    def mixed(self, temporal: Tensor, spectral: Tensor, branch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Both graphs and the branch's master node, in two layers with pooling between them: (B, T', D), ..."""
        layers = (self.HtrgGAT_layer_ST11, self.HtrgGAT_layer_ST12)
        pools, master = (self.pool_hT1, self.pool_hS1), self.master1
        if branch == 2:
            layers = (self.HtrgGAT_layer_ST21, self.HtrgGAT_layer_ST22)
            pools, master = (self.pool_hT2, self.pool_hS2), self.master2
        temporal, spectral, master = layers[0](temporal, spectral, master)
        before = pools[0](temporal), pools[1](spectral), master
        added = layers[1](*before)
        temporal, spectral, master = (a + b for a, b in zip(before, added, strict=True))
        return temporal, spectral, master


def _weight(dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(dim, 1)))


def _pairs(x: Tensor, projection: nn.Linear) -> Tensor:
    """Nodes (B, N, D) -> features of their pairs (B, N, N, D')."""
    return torch.tanh(projection(x[:, :, None] * x[:, None]))


def _attention(logits: Tensor, temperature: float) -> Tensor:
    """Logits of pairs (B, N, N, 1) -> attention (B, N, N), whose rows sum to 1."""
    return (logits / temperature).softmax(dim=-2).squeeze(-1)


def _activated(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Normalise nodes (B, N, D) over all nodes, then SELU."""
    return F.selu(norm(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
