"""Stage 1: the audio encoder over patches of audio, and the heads that it is trained with.

    B batch   N tokens (12 patches of 64 mel frames)   K values of a patch   D width   P projection

The published AVDFD design has 12 patches, 4 post-norm layers and mean pooling. An alternative generalises better to
unseen voices: it describes each patch by statistics instead of its points, and adds their standard deviation over the
patches to their mean. The statistics are those of the mel, or of the mel and several linear spectra of the waveform.

The front end that cuts audio into patches (avdfd/features/patches.py) has no parameters, so its output can be kept
in memory (`Inputs.front` in avdfd/datasets/loaders.py).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.patches import Front, Patches
from avdfd.features.window import MEL_FRAMES
from avdfd.models.layers import TransformerEncoder, head
from OpenAVFF.precision import Float32, full_precision

if TYPE_CHECKING:
    from avdfd.models.speech_encoder import Hidden, SpeechEncoder

_FLOOR = 1e-4


class AudioEncoder(nn.Module):
    """Audio -> clip feature and tokens. The defaults are the published sizes.

    A patch spans `patch_frames` mel frames and all bins. `patches` chooses what is projected to a token: the patch's
    points ("pixels") or its statistics. `spectra` are FFT sizes of linear spectra whose statistics are used beside
    those of the mel; the encoder then takes the waveform. With `score` "fitted", which needs statistics, the feature's
    first channel is a `FittedScore`.
    """

    def __init__(
        self,
        *,
        patches: Literal["pixels", "statistics"] = "pixels",
        spectra: Sequence[int] = (),
        dim: int = 512,
        depth: int = 4,
        heads: int = 4,
        mlp_dim: int = 1024,
        dropout: float = 0.1,
        patch_frames: int = 64,
        score: Literal["trained", "fitted"] = "trained",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.front = Front(MEL_FRAMES // patch_frames, patches == "statistics", tuple(spectra))
        self.score: FittedScore | None = None
        numbers = self.front.numbers
        self.patch_proj = nn.Linear(numbers, dim)
        if self.front.statistics:
            # Statistics differ in scale, hence the norm. A token does not depend on its place: there are no positions.
            self.patch_norm = nn.BatchNorm1d(numbers, affine=False)
            self.patch_drop = nn.Dropout1d(dropout)
            self.spread_proj = nn.Linear(numbers, dim)
            if score == "fitted":
                self.score = FittedScore(2 * numbers)
        else:
            self.pos_emb = nn.Parameter(torch.empty(1, self.front.patches, dim))
        self.encoder = TransformerEncoder(dim, depth, heads, mlp_dim, dropout)
        nn.init.trunc_normal_(self.patch_proj.weight, std=0.02)
        nn.init.zeros_(self.patch_proj.bias)
        if not self.front.statistics:
            nn.init.normal_(self.pos_emb, std=0.02)

    @property
    def spectra(self) -> tuple[int, ...]:
        """FFT sizes of the linear spectra."""
        return self.front.spectra

    def forward(self, audio: Tensor | Patches) -> tuple[Tensor, Tensor]:
        """z-scored mel (B, 128, 768), or waveform (B, 49152) if there are spectra, or their patches -> clip feature
        (B, D), float32, and tokens (B, N, D).

        The feature is the mean of the tokens; with statistics, a projection of their standard deviation over the
        patches is added. A fitted score replaces its first channel.
        """
        patches = audio if isinstance(audio, Patches) else self.front(audio)
        if not self.front.statistics:
            tokens = self.encoder(self.patch_proj(patches.values) + self.pos_emb)
            return tokens.mean(dim=1, dtype=torch.float32), tokens
        normed = self.patch_drop(self.patch_norm(rearrange(patches.values, "b n k -> b k n")))
        tokens = self.encoder(self.patch_proj(rearrange(normed, "b k n -> b n k")))
        spread = self.spread_proj(_standard_deviation(normed, dim=2))
        feature = tokens.mean(dim=1, dtype=torch.float32) + spread
        if self.score is not None:
            feature = torch.cat([self.score(pooled(patches))[:, None], feature[:, 1:]], dim=1)
        return feature, tokens


def pooled(patches: Patches) -> Tensor:
    """Mean and standard deviation of each value over a clip's patches: (B, 2 K), float32."""
    values = patches.values.float()
    return torch.cat([values.mean(dim=1), _standard_deviation(values, dim=1)], dim=1)


def _standard_deviation(values: Tensor, dim: int) -> Tensor:
    return (values.var(dim=dim, unbiased=False) + _FLOOR).sqrt()


class FittedScore(nn.Module):
    """Linear function of a clip's pooled statistics, fitted by `avdfd.training.fitted` and not by gradient descent."""

    centre: Tensor
    direction: Tensor

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("direction", torch.zeros(numbers))

    def forward(self, values: Tensor) -> Tensor:
        """Pooled statistics (B, 2 K) -> score (B,)."""
        # Autocast would round a matrix product, not this sum.
        return ((values - self.centre) * self.direction).sum(dim=1)


class ScaledScore(nn.Module):
    """Head of a fitted score: feature (B, D) -> logit (B, 1), the first channel by a scale and an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, feature: Tensor) -> Tensor:
        with full_precision(feature):
            return self.scale(feature[:, :1])


def audio_head(encoder: "AudioEncoder | SpeechEncoder") -> nn.Module:
    """Return a new head for the encoder's feature: (B, D) -> logit (B, 1)."""
    return head(encoder.dim, encoder.dim, 1) if encoder.score is None else ScaledScore()


def keep_frozen_in_eval(encoder: "AudioEncoder | SpeechEncoder", head: nn.Module, *, dropout: bool) -> None:
    """Put the audio branch of stage 2 back into eval mode after `train()`, unless it has `dropout`.

    Its batch norm keeps the statistics of stage 1 even if the branch is trained: those of stage 2's batches, which are
    smaller and may be computed in parts, differ from what the scores were trained with.
    """
    for module in (*encoder.modules(), *head.modules()):
        if not dropout or isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.training = False


class AudioOutput(NamedTuple):
    """Outputs of stage 1 for a batch."""

    feat: Tensor
    """(B, D) clip feature."""
    z: Tensor
    """(B, P) embedding of unit length."""
    logit: Tensor
    """(B,) logit of the audio being fake."""
    tokens: Tensor
    """(B, N, D)."""


class AudioNet(nn.Module):
    """Audio encoder with a projection, an auxiliary real/fake head and one learned prototype of real speech."""

    def __init__(self, encoder: "AudioEncoder | SpeechEncoder", *, projection_dim: int = 256) -> None:
        super().__init__()
        dim = encoder.dim
        self.encoder = encoder
        self.projection = Float32(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection_dim))
        self.head = audio_head(encoder)
        self.prototype = nn.Parameter(torch.empty(projection_dim))
        nn.init.normal_(self.prototype, std=0.02)

    def forward(self, audio: "Tensor | Patches | Hidden") -> AudioOutput:
        """Scores mels (B, 128, 768), waveforms (B, 49152), or the output of the encoder's front end."""
        feat, tokens = self.encoder(audio)
        z = F.normalize(self.projection(feat), dim=1)
        return AudioOutput(feat=feat, z=z, logit=self.head(feat).squeeze(-1), tokens=tokens)
