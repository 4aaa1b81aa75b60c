"""The encoder of Whisper: two convolutions on a log mel, sinusoidal positions, pre-norm layers.

    B batch   S samples at 16 kHz   M mel bins   F mel frames, 100 per second   T tokens, 50 per second   D width

The state_dict keys are those of Hugging Face's encoder. Whisper was trained on 30 s, filled with silence; here a clip
has its own length, so that silence takes no part in attention.

References: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.
"""

import functools

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchaudio.functional import melscale_fbanks

from avdfd.features.window import SAMPLE_RATE
from avdfd.models.front_ends import Sizes, by_length
from OpenAVFF.precision import full_precision
from OpenAVFF.stack import Stack

POSITIONS = 1500
"""Tokens of 30 s, the most that there are positions for."""

_N_FFT = 400
_HOP = 160


class Whisper(nn.Module):
    """Waveforms (B, S) of at most 30 s -> hidden states 0 to `depth`, each (B, T, D). `sizes.channels` is M."""

    def __init__(self, *, sizes: Sizes) -> None:
        super().__init__()
        self.bins = sizes.channels
        self.conv1 = nn.Conv1d(sizes.channels, sizes.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(sizes.dim, sizes.dim, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(POSITIONS, sizes.dim)
        self.layers = Stack(_Layer(sizes.dim, sizes.heads, sizes.mlp_dim) for _ in range(sizes.depth))
        self.layer_norm = nn.LayerNorm(sizes.dim)

    @property
    def final_norm(self) -> nn.Module | None:
        """Norm of the last hidden state, which the others do not pass."""
        return self.layer_norm

    def forward(self, waveform: Tensor, lengths: Tensor | None = None, *, last: int | None = None) -> list[Tensor]:
        """Layers above `last` are not computed; `lengths` (B,) in samples."""
        return by_length(lambda clips: self._states(clips, last), waveform, lengths)

    def _states(self, waveform: Tensor, last: int | None) -> list[Tensor]:
        with full_precision(waveform):
            mel = log_mel(waveform.float(), self.bins)
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        states = [x]
        layers = self.layers[:last]
        for layer in layers:
            checkpointed = self.layers.checkpointing and torch.is_grad_enabled()
            x = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
            states.append(x)
        if len(layers) == len(self.layers):
            states[-1] = self.layer_norm(x)
        return states


class _Layer(nn.Module):
    """Pre-norm transformer layer with GELU: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.self_attn = _Attention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class _Attention(nn.Module):
    """Self-attention whose keys have no bias: (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.k_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            rearrange(project(x), "b t (h d) -> b h t d", h=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(F.scaled_dot_product_attention(query, key, value), "b h t d -> b t (h d)"))


def log_mel(waveform: Tensor, bins: int) -> Tensor:
    """Waveform (B, S) in [-1, 1] -> Whisper's mel (B, M, S // 160): log10, at most 8 below the clip's peak, scaled."""
    window = torch.hann_window(_N_FFT, device=waveform.device)
    spectrum = torch.stft(waveform, _N_FFT, _HOP, window=window, return_complex=True)[..., :-1]
    mel = _filters(bins, waveform.device) @ spectrum.abs().square()
    log = mel.clamp_min(1e-10).log10()
    return (torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8) + 4) / 4


@functools.cache
def _filters(bins: int, device: torch.device) -> Tensor:
    """Return Slaney's triangular filters (bins, 201) on a device, copied once."""
    filters = melscale_fbanks(_N_FFT // 2 + 1, 0.0, 8000.0, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return filters.T.contiguous().to(device)
