"""WavLM: wav2vec 2.0 with gated relative positions in its attention.

The modules and state_dict keys are torchaudio's. Dropout is off.

References: Chen et al., "WavLM", IEEE JSTSP 2022.
"""

from torchaudio.models import wavlm_model

from avdfd.models.front_ends import Sizes
from avdfd.models.front_ends.wav2vec2 import Wav2Vec2, torchaudio_sizes


def wavlm(*, sizes: Sizes, large: bool, normalise: bool) -> Wav2Vec2:
    """Return a WavLM with random weights; `large` and `normalise` as in `wav2vec2`."""
    shared = torchaudio_sizes(sizes, large=large, conv_bias=False)
    model = wavlm_model(**shared, encoder_num_buckets=320, encoder_max_distance=800, aux_num_out=None)
    return Wav2Vec2(model, normalise=normalise)
