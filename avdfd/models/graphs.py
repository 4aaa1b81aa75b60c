"""Graph attention over a spectrum and over time, the back end of AASIST.

    B batch   C channels   F spectral nodes   T temporal nodes   N nodes   D width

References:
    Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

_TEMPERATURE, _MIXED_TEMPERATURE = 2.0, 100.0


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
        return logits.gather(-1, pairs[None, :, :, None].expand(x.shape[0], -1, -1, 1))


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


class Graphs(nn.Module):
    """Parent of networks with both graphs, whose modules have the released keys at the network's top."""

    def add_graphs(self, *, channels: int, nodes: int, widths: Sequence[int], ratios: Sequence[float]) -> None:
        """Add the modules, for nodes of these channels, `nodes` of them spectral.

        `widths` are those of the graphs of one and of both kinds of nodes, `ratios` the shares of spectral, temporal
        and mixed nodes that pooling keeps.
        """
        (dim, mixed), (spectral, temporal, both) = widths, ratios
        self.pos_S = nn.Parameter(torch.randn(1, nodes, channels))
        self.master1 = nn.Parameter(torch.randn(1, 1, dim))
        self.master2 = nn.Parameter(torch.randn(1, 1, dim))
        self.GAT_layer_S = GraphAttention(channels, dim, temperature=_TEMPERATURE)
        self.GAT_layer_T = GraphAttention(channels, dim, temperature=_TEMPERATURE)
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

    def read_out(self, spectral: Tensor, temporal: Tensor) -> Tensor:
        """Spectral nodes (B, F, C) and temporal nodes (B, T, C) -> features of the clip (B, 5 D)."""
        # ---- a graph of the spectrum, and one of time
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))

        # ---- two branches over both graphs, of which the larger values remain
        one = self.mixed(temporal, spectral, 1)
        two = self.mixed(temporal, spectral, 2)
        temporal, spectral, master = (
            torch.maximum(self.drop_way(a), self.drop_way(b)) for a, b in zip(one, two, strict=True)
        )
        nodes = [part for x in (temporal, spectral) for part in (x.abs().amax(dim=1), x.mean(dim=1))]
        return torch.cat([*nodes, master[:, 0]], dim=1)

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
