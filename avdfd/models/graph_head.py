"""AASIST's back end on the tokens of a pretrained audio encoder, in place of its filter bank.

    B batch   T tokens   E their width   F spectral nodes, 42   T' temporal nodes, a third of T   C channels

References:
    Tak et al., "Automatic Speaker Verification Spoofing and Deepfake Detection Using Wav2vec 2.0 and Data
    Augmentation", Odyssey 2022.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.models.aasist import ResidualBlock
from avdfd.models.graphs import Graphs

_BINS, _CHANNELS = 128, 64
_NODES = _BINS // 3
_WIDTHS, _RATIOS = (64, 32), (0.5, 0.5, 0.5)


class GraphHead(Graphs):
    """Tokens (B, T, E) -> features of the clip (B, `width`). T is 3 or more.

    The state_dict keys are those of the released model. `faithful` is as in `ResidualBlock`.
    """

    width = 5 * _WIDTHS[1]

    def __init__(self, dim: int, *, faithful: bool = False) -> None:
        super().__init__()
        self.LL = nn.Linear(dim, _BINS)
        self.first_bn = nn.BatchNorm2d(1)
        self.first_bn1 = nn.BatchNorm2d(_CHANNELS)
        steps = [(1, 32), (32, 32), (32, _CHANNELS), *[(_CHANNELS, _CHANNELS)] * 3]
        self.encoder = nn.Sequential(
            *(
                nn.Sequential(ResidualBlock(*step, first=i == 0, pooled=False, faithful=faithful))
                for i, step in enumerate(steps)
            )
        )
        self.attention = nn.Sequential(
            nn.Conv2d(_CHANNELS, 2 * _CHANNELS, 1), nn.SELU(), nn.BatchNorm2d(2 * _CHANNELS),
            nn.Conv2d(2 * _CHANNELS, _CHANNELS, 1),
        )  # fmt: skip
        self.add_graphs(channels=_CHANNELS, nodes=_NODES, widths=_WIDTHS, ratios=_RATIOS)

    def forward(self, tokens: Tensor) -> Tensor:
        image = rearrange(self.LL(tokens), "b t f -> b 1 f t")
        x = self.encoder(F.selu(self.first_bn(F.max_pool2d(image, 3))))
        x = F.selu(self.first_bn1(x))
        weight = self.attention(x)
        spectral = rearrange((x * weight.softmax(dim=3)).sum(dim=3), "b c f -> b f c")
        temporal = rearrange((x * weight.softmax(dim=2)).sum(dim=2), "b c t -> b t c")
        return self.read_out(spectral, temporal)
