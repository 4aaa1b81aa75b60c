"""Pretrained audio encoders, without their weights: waveform -> hidden states of all layers, 50 per second.

    B batch   S samples at 16 kHz   T tokens, 50 per second   D width   L layers

Hidden state 0 is the input of the first transformer layer, k the output of the k-th, the last one after the final norm
where the encoder has one, as in Hugging Face's `hidden_states`. Each encoder normalises its input as it was trained.

wav2vec2    wav2vec 2.0, XLS-R, HuBERT, mHuBERT-147   torchaudio's modules
wavlm       WavLM                                     torchaudio's modules
w2v_bert    w2v-BERT 2.0, a conformer on a mel        torchaudio's filter bank, own modules
whisper     the encoder of Whisper, on a mel          own modules

Clips of unequal length are computed by length, without padding: convolutions, group norms and means over time would
all take the padding in, and masks remove it from attention alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Sizes(NamedTuple):
    """Sizes of an encoder."""

    depth: int
    """Transformer or conformer layers; there is one hidden state more."""
    dim: int
    """D."""
    heads: int
    mlp_dim: int
    channels: int = 512
    """Channels of the convolutions on the waveform, or bins of the mel."""


def by_length(encode: Callable[[Tensor], list[Tensor]], waveform: Tensor, lengths: Tensor | None) -> list[Tensor]:
    """Apply `encode`, (B, S) -> list of (B, T, D), to clips (B, S) of these lengths (B,) in samples; None: all of S.

    Tokens beyond the end of a clip are zeros.
    """
    if lengths is None or bool((lengths == waveform.shape[1]).all()):
        return encode(waveform)
    if lengths.shape != waveform.shape[:1] or int(lengths.max()) > waveform.shape[1]:
        raise ValueError(f"lengths {lengths.tolist()} do not fit waveforms {tuple(waveform.shape)}")
    every: list[Tensor] = []
    for length in lengths.unique(sorted=True).flip(0).tolist():  # the longest first, which has the most tokens
        of_length = lengths == length
        for number, state in enumerate(encode(waveform[of_length, :length])):
            if len(every) == number:
                every.append(state.new_zeros(len(waveform), *state.shape[1:]))
            rows = torch.nonzero(of_length)[:, 0]
            padded = torch.nn.functional.pad(state, (0, 0, 0, every[number].shape[1] - state.shape[1]))
            every[number] = every[number].index_copy(0, rows, padded)
    return every
