"""w2v-BERT 2.0: a conformer with causal convolutions on a mel filter bank, two frames per token.

    B batch   S samples at 16 kHz   F frames, 100 per second   T tokens, 50 per second   D width   H heads

The state_dict keys are those of Hugging Face's model. Dropout is off.

References:
    Chung et al., "w2v-BERT", ASRU 2021.
    Barrault et al., "Seamless: Multilingual Expressive and Streaming Speech Translation", 2023 (version 2.0).
    Gulati et al., "Conformer", Interspeech 2020.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchaudio.compliance import kaldi

from avdfd.features.window import SAMPLE_RATE
from avdfd.models.front_ends import Sizes, by_length
from OpenAVFF.precision import full_precision
from OpenAVFF.stack import Stack

_LEFT, _RIGHT = 64, 8  # tokens, beyond which all relative positions are alike
_KERNEL = 31
_STRIDE = 2  # frames of a token


class W2vBert(nn.Module):
    """Waveforms (B, S) -> hidden states 0 to `depth`, each (B, T, D). `sizes.channels` is the number of mel bins."""

    def __init__(self, *, sizes: Sizes) -> None:
        super().__init__()
        self.bins = sizes.channels
        self.feature_projection = nn.ModuleDict(
            {
                "layer_norm": nn.LayerNorm(_STRIDE * sizes.channels),
                "projection": nn.Linear(_STRIDE * sizes.channels, sizes.dim),
            }
        )
        layers = (_Layer(sizes.dim, sizes.heads, sizes.mlp_dim) for _ in range(sizes.depth))
        self.encoder = nn.ModuleDict({"layers": Stack(layers)})

    @property
    def final_norm(self) -> nn.Module | None:
        """Norm of the last hidden state, which the others do not pass."""
        return None

    def forward(self, waveform: Tensor, lengths: Tensor | None = None, *, last: int | None = None) -> list[Tensor]:
        """Layers above `last` are not computed; `lengths` (B,) in samples."""
        return by_length(lambda clips: self._states(clips, last), waveform, lengths)

    def _states(self, waveform: Tensor, last: int | None) -> list[Tensor]:
        with full_precision(waveform):
            x = filter_bank(waveform.float(), self.bins)
        for name in ("layer_norm", "projection"):
            x = self.feature_projection[name](x)
        states = [x]
        stack = self.encoder["layers"]
        assert isinstance(stack, Stack), "made above"
        for layer in stack[:last]:
            checkpointed = stack.checkpointing and torch.is_grad_enabled()
            x = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
            states.append(x)
        return states


class _Layer(nn.Module):
    """Conformer layer: half a feed-forward layer, attention, convolution, half a feed-forward layer, norm."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.ffn1_layer_norm, self.ffn1 = nn.LayerNorm(dim), _FeedForward(dim, mlp_dim)
        self.self_attn_layer_norm, self.self_attn = nn.LayerNorm(dim), _Attention(dim, heads)
        self.conv_module = _Convolution(dim)
        self.ffn2_layer_norm, self.ffn2 = nn.LayerNorm(dim), _FeedForward(dim, mlp_dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ffn1(self.ffn1_layer_norm(x)) / 2
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        x = x + self.conv_module(x)
        return self.final_layer_norm(x + self.ffn2(self.ffn2_layer_norm(x)) / 2)


class _FeedForward(nn.Module):
    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(dim, mlp_dim)
        self.output_dense = nn.Linear(mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x)))


class _Attention(nn.Module):
    """Self-attention with an embedding of the distance, from 64 tokens before to 8 after, added to the keys."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))
        self.distance_embedding = nn.Embedding(_LEFT + _RIGHT + 1, dim // heads)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            rearrange(project(x), "b t (h d) -> b h t d", h=self.heads)
            for project in (self.linear_q, self.linear_k, self.linear_v)
        )
        place = torch.arange(x.shape[1], device=x.device)
        distance = (place - place[:, None]).clamp(-_LEFT, _RIGHT) + _LEFT
        # All 73 distances at once, then the one of each pair: (B, H, T, T, d) would not fit into memory.
        of_distance = query @ self.distance_embedding.weight.T.to(query.dtype)
        bias = of_distance.gather(3, distance.expand(*query.shape[:2], -1, -1)) * query.shape[-1] ** -0.5
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.linear_out(rearrange(attended, "b h t d -> b t (h d)"))


class _Convolution(nn.Module):
    """Gated depthwise convolution that takes a token and 30 before it: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(dim, dim, _KERNEL, groups=dim, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.glu(self.pointwise_conv1(self.layer_norm(x).transpose(1, 2)), dim=1)
        x = self.depthwise_conv(F.pad(x, (_KERNEL - 1, 0))).transpose(1, 2)
        x = F.silu(self.depthwise_layer_norm(x)).transpose(1, 2)
        return self.pointwise_conv2(x).transpose(1, 2)


def filter_bank(waveform: Tensor, bins: int) -> Tensor:
    """Waveform (B, S) in [-1, 1] -> two frames of log energies per token (B, T, 2 * bins), normalised per clip and bin.

    Kaldi's filter bank of 25 ms frames every 10 ms on 16-bit samples; an odd last frame is left out.
    """
    banks = []
    for clip in waveform:
        bank = kaldi.fbank(clip[None] * 32_768, num_mel_bins=bins, sample_frequency=SAMPLE_RATE)
        banks.append((bank - bank.mean(dim=0)) / (bank.var(dim=0) + 1e-7).sqrt())
    frames = torch.stack(banks)
    return rearrange(frames[:, : frames.shape[1] // _STRIDE * _STRIDE], "b (t n) f -> b t (n f)", n=_STRIDE)
