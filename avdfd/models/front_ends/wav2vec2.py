"""wav2vec 2.0, XLS-R, HuBERT and mHuBERT-147: convolutions on the waveform, then a transformer.

B batch   S samples at 16 kHz   T tokens, 50 per second   D width

The modules and state_dict keys are torchaudio's. Dropout is off, as the encoders are frozen or trained little.

References:
    Baevski et al., "wav2vec 2.0", NeurIPS 2020.
    Hsu et al., "HuBERT", IEEE/ACM TASLP 2021.
    Babu et al., "XLS-R", Interspeech 2022.
    Boito et al., "mHuBERT-147", Interspeech 2024.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchaudio.models import Wav2Vec2Model, wav2vec2_model

from avdfd.models.front_ends import Sizes, by_length
from OpenAVFF.stack import Stack

POSITION_GROUPS = 16
"""Groups of the convolution that encodes position."""

# Kernel and stride of the convolutions.
_CONVOLUTIONS = ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)


class Wav2Vec2(nn.Module):
    """Waveforms (B, S) -> hidden states 0 to `depth`, each (B, T, D), by a wav2vec 2.0 or WavLM of torchaudio.

    `normalise` scales a clip to mean 0 and variance 1.
    """

    def __init__(self, model: Wav2Vec2Model, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.model = model
        transformer = model.encoder.transformer
        transformer.layers = Stack(transformer.layers)

    @property
    def final_norm(self) -> nn.Module | None:
        """Norm of the last hidden state, which the others do not pass."""
        transformer = self.model.encoder.transformer
        return None if transformer.layer_norm_first else transformer.layer_norm

    def forward(
        self, waveform: Tensor, lengths: Tensor | None = None, *, last: int | None = None, normed: bool = True
    ) -> list[Tensor]:
        """Layers above `last` are not computed; `lengths` (B,) in samples. Not `normed`, `final_norm` is left out."""
        return by_length(lambda clips: self._hidden_states(clips, last, normed), waveform, lengths)

    def _hidden_states(self, waveform: Tensor, last: int | None, normed: bool) -> list[Tensor]:
        """Waveforms (B, S) without padding -> hidden states from 0 to `last`."""
        if self.normalise:
            waveform = F.layer_norm(waveform, waveform.shape[-1:])
        encoder = self.model.encoder
        transformer = encoder.transformer
        x = encoder.feature_projection(self.model.feature_extractor(waveform, None)[0])
        x = x + transformer.pos_conv_embed(x)
        if transformer.layer_norm_first:  # torchaudio's name for a norm before the first layer, of post-norm models
            x = transformer.layer_norm(x)
        states, bias = [x], None
        layers = transformer.layers[:last]
        for layer in layers:
            if transformer.layers.checkpointing and torch.is_grad_enabled():
                x, bias = checkpoint(layer, x, None, bias, use_reentrant=False)
            else:
                x, bias = layer(x, None, position_bias=bias)
            states.append(x)
        if normed and len(layers) == len(transformer.layers) and not transformer.layer_norm_first:
            states[-1] = transformer.layer_norm(x)
        return states


def wav2vec2(*, sizes: Sizes, large: bool, conv_bias: bool, normalise: bool) -> Wav2Vec2:
    """Return a wav2vec 2.0 with random weights.

    `large` has layer norms in its convolutions and pre-norm layers, as XLS-R and the large models; otherwise there is a
    group norm in the first convolution, and layers are post-norm.
    """
    shared = torchaudio_sizes(sizes, large=large, conv_bias=conv_bias)
    return Wav2Vec2(wav2vec2_model(**shared, aux_num_out=None), normalise=normalise)


def tokens_of(samples: int) -> int:
    """Return the number of tokens of a waveform."""
    for kernel, stride in _CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return samples


def torchaudio_sizes(sizes: Sizes, *, large: bool, conv_bias: bool) -> dict[str, Any]:
    """Return the arguments of torchaudio's constructors that the models share."""
    channels = sizes.channels
    return {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": [(channels, *one) for one in _CONVOLUTIONS],
        "extractor_conv_bias": conv_bias,
        "encoder_embed_dim": sizes.dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": POSITION_GROUPS,
        "encoder_num_layers": sizes.depth,
        "encoder_num_heads": sizes.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": sizes.mlp_dim,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.0,
    }
