"""WavLM: wav2vec 2.0 with gated relative positions in its attention.

B batch   S samples at 16 kHz   T tokens, 50 per second   D width

The modules and state_dict keys are torchaudio's. Dropout is off.

References: Chen et al., "WavLM", IEEE JSTSP 2022.
"""

from torch import Tensor, nn
from torchaudio.models import wavlm_model

from avdfd.models.front_ends import Sizes, by_length
from avdfd.models.front_ends.wav2vec2 import hidden_states, torchaudio_sizes
from OpenAVFF.stack import Stack


class WavLM(nn.Module):
    """Waveforms (B, S) -> hidden states 0 to `depth`, each (B, T, D); `large` and `normalise` as in `Wav2Vec2`."""

    def __init__(self, *, sizes: Sizes, large: bool, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        shared = torchaudio_sizes(sizes, large=large, conv_bias=False)
        self.model = wavlm_model(**shared, encoder_num_buckets=320, encoder_max_distance=800, aux_num_out=None)
        transformer = self.model.encoder.transformer
        transformer.layers = Stack(transformer.layers)

    @property
    def final_norm(self) -> nn.Module | None:
        """Norm of the last hidden state, which the others do not pass."""
        transformer = self.model.encoder.transformer
        return None if transformer.layer_norm_first else transformer.layer_norm

    def forward(self, waveform: Tensor, lengths: Tensor | None = None, *, last: int | None = None) -> list[Tensor]:
        """Layers above `last` are not computed; `lengths` (B,) in samples."""
        return by_length(lambda clips: hidden_states(self.model, clips, self.normalise, last), waveform, lengths)
