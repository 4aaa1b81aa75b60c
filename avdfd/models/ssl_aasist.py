"""SSL + AASIST: a pretrained speech encoder, trained as a whole, with AASIST's back end.

    B batch   S samples   T tokens, 201 of 64,600 samples   E their width

The state_dict keys outside of the encoder are those of the released model.

References:
    Tak et al., "Automatic Speaker Verification Spoofing and Deepfake Detection Using Wav2vec 2.0 and Data
    Augmentation", Odyssey 2022.
"""

from torch import Tensor, nn

from avdfd.models.front_ends.wav2vec2 import Wav2Vec2
from avdfd.models.graph_head import GraphHead
from OpenAVFF.precision import full_precision


class SslAasist(GraphHead):
    """Waveform (B, S) in [-1, 1] -> logits (B, 2) of fake and real. `dim` is the width of the encoder's tokens.

    The released code computes an activation in each block and does not use it, and gives the encoder audio that is
    not normalised, unlike that it was pretrained on (`faithful`).
    """

    def __init__(self, encoder: Wav2Vec2, dim: int, *, faithful: bool = False) -> None:
        super().__init__(dim, faithful=faithful)
        self.drop = nn.Dropout(0.5)
        self.out_layer = nn.Linear(self.width, 2)
        self.ssl_model = encoder
        if faithful:
            encoder.normalise = False

    def forward(self, waveform: Tensor) -> Tensor:
        features = super().forward(self.ssl_model(waveform)[-1])
        with full_precision(waveform):
            return self.out_layer(self.drop(features.to(self.out_layer.weight.dtype)))
