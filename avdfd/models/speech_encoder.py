"""Stage 1 on a pretrained audio encoder: its hidden states become the tokens, and a head the clip's feature.

    B batch   S samples at 16 kHz   T tokens, 25 or 50 per second   L chosen hidden states   E their width   D width
    N patches and K statistics of each, beside the tokens if the config has them

The interface is that of `AudioEncoder`: `front` is the fixed part, whose output can be cached, and the module takes the
audio or that output.

References:
    Okabe et al., "Attentive Statistics Pooling for Deep Speaker Embedding", Interspeech 2018.
    Zhang et al., "Audio Deepfake Detection with Self-Supervised XLS-R and SLS Classifier", ACM Multimedia 2024.
    Yang et al., "SUPERB", Interspeech 2021 (learned weights of layers).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.patches import Front, Patches
from avdfd.models.audio_encoder import AudioEncoder, FittedScore, pooled
from avdfd.models.graph_head import GraphHead
from avdfd.models.layers import TransformerEncoder
from avdfd.models.referred import leave_out

_FLOOR = 1e-4
_SILENCE = 1e-10  # power of a silent token
_RANGE, _SLOPE = 25, 3  # dB: a token 25 dB below the loudest has half its weight, one of 34 dB a twentieth
_ATTENTION = 128  # width of the layer that weights tokens


class Hidden(NamedTuple):
    """Output of the front end for B clips."""

    states: Tensor
    """(B, T, L, E); in half precision if cached."""
    statistics: Tensor | None = None
    """(B, N, K); None if the encoder has none."""
    weights: Tensor | None = None
    """(B, T), of sum 1: weight of each token in `summary`; None if all are equal."""


class SpeechEncoder(nn.Module):
    """Waveform -> clip feature and tokens, by a pretrained encoder.

    `layers` are the hidden states that are used, of `width` each; `weights` sums them up with learned weights in place
    of joining them. `statistics` are local statistics of the waveform, whose projection is added to the feature.
    With `score` "fitted", the feature's first channel is a `FittedScore` of all states and statistics; `weighting` is
    how much a token counts in it.

    The pretrained encoder is `front_end`, which may be set later. Unless it is `carried`, it is no part of the
    state_dict, which then refers to a file of its own. `train_from` is the first of its layers that is trained, 0 for
    all of it, None for none. `origin` identifies it, for caches.
    """

    def __init__(
        self,
        *,
        layers: Sequence[int],
        width: int,
        front_end: nn.Module | None = None,
        carried: bool = False,
        train_from: int | None = None,
        weights: bool = False,
        pool: Literal["transformer", "attentive", "sls", "graph"] = "transformer",
        rate: Literal[25, 50] = 50,
        statistics: Front | None = None,
        dim: int = 512,
        depth: int = 4,
        heads: int = 4,
        mlp_dim: int = 1024,
        dropout: float = 0.1,
        score: Literal["trained", "fitted"] = "trained",
        weighting: Literal["equal", "loudness"] = "equal",
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.rate, self.layers, self.train_from = dim, rate, tuple(layers), train_from
        self.statistics, self.origin, self.carried = statistics, dict(origin or {}), carried
        self.front_end, self.weighting = front_end, weighting
        self.weights = nn.Parameter(torch.zeros(len(layers))) if weights else None
        self.gate = nn.Linear(width, 1) if pool == "sls" else None
        mixed = width if weights or pool == "sls" else width * len(layers)
        self.drop = nn.Dropout(dropout)
        self.proj = nn.Linear(mixed, dim)
        self.encoder = TransformerEncoder(dim, depth, heads, mlp_dim, dropout)
        self.attention: nn.Module | None = None
        if pool == "attentive":
            self.attention = nn.Sequential(nn.Linear(dim, _ATTENTION), nn.Tanh(), nn.Linear(_ATTENTION, 1))
            self.pool_proj = nn.Linear(2 * dim, dim)
        self.graph = GraphHead(dim) if pool == "graph" else None
        if pool == "graph":
            self.pool_proj = nn.Linear(GraphHead.width, dim)
        numbers = 2 * statistics.numbers if statistics is not None else 0
        if numbers:
            self.statistics_norm = nn.BatchNorm1d(numbers, affine=False)
            self.statistics_proj = nn.Linear(numbers, dim)
        self.score = FittedScore(numbers + 3 * width * len(layers)) if score == "fitted" else None
        if not carried:
            leave_out(self, "front_end")
        self._freeze()

    @property
    def spectra(self) -> tuple[int, ...]:
        """FFT sizes of the statistics' linear spectra."""
        return () if self.statistics is None else self.statistics.spectra

    def attach(self, front_end: nn.Module) -> None:
        """Set the pretrained encoder."""
        self.front_end = front_end
        self._freeze()

    def requires_grad_(self, requires_grad: bool = True) -> "SpeechEncoder":
        """As nn.Module.requires_grad_, but what is frozen of the pretrained encoder stays frozen."""
        super().requires_grad_(requires_grad)
        self._freeze()
        return self

    def front(self, audio: Tensor) -> Hidden:
        """Waveform (B, S) -> hidden states, and statistics if there are any."""
        assert self.front_end is not None, "attach the pretrained encoder first"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_from is not None):
            found = self.front_end(audio, last=self.layers[-1])
        states = torch.stack([found[layer] for layer in self.layers], dim=2)
        if self.rate == 25:
            states = (states[:, 0 : states.shape[1] // 2 * 2 : 2] + states[:, 1::2]) / 2
        return Hidden(
            states,
            None if self.statistics is None else self.statistics(audio).values,
            loudness_weights(audio, states.shape[1]) if self.weighting == "loudness" else None,
        )

    def forward(self, audio: Tensor | Hidden) -> tuple[Tensor, Tensor]:
        """Waveform (B, S), or the output of `front` -> clip feature (B, D), float32, and tokens (B, T, D)."""
        hidden = audio if isinstance(audio, Hidden) else self.front(audio)
        # States differ in scale from layer to layer.
        states = F.layer_norm(hidden.states.float(), hidden.states.shape[-1:])
        if self.weights is not None:
            mixed = torch.einsum("b t l e, l -> b t e", states, self.weights.softmax(dim=0))
        elif self.gate is not None:
            mixed = torch.einsum("b t l e, b l -> b t e", states, self.gate(states.mean(dim=1)).sigmoid().squeeze(-1))
        else:
            mixed = rearrange(states, "b t l e -> b t (l e)")
        tokens = self.encoder(self.proj(self.drop(mixed)))
        feature = self._pooled(tokens).float()
        if hidden.statistics is not None:
            numbers = pooled(Patches(hidden.statistics))
            feature = feature + self.statistics_proj(self.drop(self.statistics_norm(numbers))).float()
        if self.score is not None:
            feature = torch.cat([self.score(summary(hidden))[:, None], feature[:, 1:]], dim=1)
        return feature, tokens

    def _pooled(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        if self.graph is not None:
            return self.pool_proj(self.graph(tokens))
        tokens = tokens.float()
        if self.attention is None:
            return tokens.mean(dim=1)
        weights = self.attention(tokens).float().softmax(dim=1).squeeze(-1)
        return self.pool_proj(torch.cat(_moments(tokens, weights), dim=1))

    def _freeze(self) -> None:
        """Leave gradients to what is trained of the pretrained encoder, and is computed."""
        if self.front_end is None:
            return
        first, last, stack = self.train_from, self.layers[-1], layers_of(self.front_end)
        frozen = [*stack[last:].parameters()]
        if first != 0:
            trained = {id(p) for p in stack[first - 1 : last].parameters()} if first else set()
            frozen = [p for p in self.front_end.parameters() if id(p) not in trained]
        elif last < len(stack) and isinstance(norm := self.front_end.final_norm, nn.Module):
            frozen += norm.parameters()
        for parameter in frozen:
            parameter.requires_grad = False


def copy_encoder(source: AudioEncoder | SpeechEncoder, target: AudioEncoder | SpeechEncoder) -> None:
    """Copy weights to an encoder of the same sizes, which then shares a pretrained encoder that is not carried."""
    target.load_state_dict(source.state_dict())
    if isinstance(source, SpeechEncoder) and isinstance(target, SpeechEncoder) and not source.carried:
        assert source.front_end is not None, "attach the pretrained encoder first"
        target.attach(source.front_end)


def layers_of(front_end: nn.Module) -> nn.ModuleList:
    """Return the transformer layers of a pretrained encoder."""
    stacks = [module for name, module in front_end.named_modules() if name.rpartition(".")[2] == "layers"]
    assert len(stacks) == 1, "an encoder has one stack of layers"
    assert isinstance(stacks[0], nn.ModuleList), "which is a list"
    return stacks[0]


def loudness_weights(audio: Tensor, tokens: int) -> Tensor:
    """Waveform (B, S) -> weights (B, T) of sum 1 of its tokens: near 0 for one far below the loudest.

    What an encoder says of a pause depends on its noise, and little on the voice.
    """
    samples = audio.shape[1] // tokens
    power = audio[:, : tokens * samples].float().square().unflatten(1, (tokens, samples)).mean(dim=2)
    level = 10 * (power + _SILENCE).log10()
    return _to_sum_1(torch.sigmoid((level - level.amax(dim=1, keepdim=True) + _RANGE) / _SLOPE))


def summary(hidden: Hidden) -> Tensor:
    """Mean and standard deviation over time of the states, the standard deviation of their steps, and, where there are
    statistics, their mean and standard deviation over patches: (B, M), float32.

    With weights, that of a step is the geometric mean of those of its two tokens, and the others are weighted.
    """
    states, weights = hidden.states.float(), hidden.weights
    of_steps = None if weights is None else _to_sum_1((weights[:, 1:] * weights[:, :-1]).sqrt())
    mean, spread = _moments(states, weights)
    rows = [part.flatten(1) for part in (mean, spread, _moments(states.diff(dim=1), of_steps)[1])]
    return torch.cat(rows if hidden.statistics is None else [*rows, pooled(Patches(hidden.statistics))], dim=1)


def _moments(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values (B, T, ...) and weights (B, T) of sum 1, None for equal ones -> mean and standard deviation, (B, ...)."""
    if weights is None:
        return values.mean(dim=1), (values.var(dim=1, unbiased=False) + _FLOOR).sqrt()
    share = weights.view(weights.shape + (1,) * (values.ndim - 2))
    mean = (share * values).sum(dim=1)
    variance = (share * (values - mean[:, None]).square()).sum(dim=1)
    return mean, (variance + _FLOOR).sqrt()


def _to_sum_1(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=1, keepdim=True)
