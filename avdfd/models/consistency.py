"""Consistency of audio and mouth: mouth movement predicted from audio, compared with the actual one at several lags.

B batch   T frames (25 a second)   M mel frames (10 per video frame)   D features (120)   K tokens   L lags (31)

The mouth is its shape, or another representation (`avdfd.models.representations`), which has other features. Of more
features than `components`, principal components of their movement take the place, in every direction alike.

The predictor is local: a frame depends on 0.24 s of audio on either side. Its targets are fixed projections of the
features, normalised and without slow movement, so nothing can be gained by moving them. A lag of l frames compares
the mouth with the audio l frames later: it is the number of frames by which the audio is late.

The score is a log-ratio. In the numerator, real recordings, whose audio is late or early by a few frames, normally
distributed; in the denominator, any lag alike, or no relation at all.

References:
    Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016 (score over lags).
    van den Oord et al., "Representation learning with contrastive predictive coding", arXiv 1807.03748 (InfoNCE).
"""

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.features.mouth_shape import SHAPE
from avdfd.features.window import MEL_BINS
from avdfd.models.local_attention import LocalNetwork
from avdfd.models.vfd_losses import info_nce_in_batch, same_identity
from OpenAVFF.precision import full_precision

BANDS = 32
CONTEXT = 12
"""Audio tokens of 20 ms on either side of a frame."""
LAGS = 15
"""Frames: the score compares lags up to this many, 0.6 s, in both directions."""
_POOLED = (MEL_BINS // BANDS, 5)  # bins and frames of the mel per audio token
_STILL = 1e-4  # squared movement, of tokens of about unit variance, that is rounding
_NEAR = 2  # lags up to this many frames are not contrasted with the true one: recordings are no more exact


Direction = Literal["a2v", "v2a", "symmetric"]


class Evidence(NamedTuple):
    """Result of comparing audio and mouth."""

    log_ratio: Tensor
    """(B,) high if audio and mouth belong together."""
    frames: Tensor
    """(B, T) the same over time, from about half a second around each frame."""
    agreement: Tensor
    """(B, L) correlation of predicted and actual movement at lags from -15 to 15 frames."""


class Consistency(nn.Module):
    """Predictor of mouth movement from audio, and the comparison with the actual one.

    `direction` reverses the prediction for comparison, with the same span of time and number of tokens: "v2a" predicts
    audio from the movement of the mouth, "symmetric" compares the tokens of both predictions together.
    """

    reduction: Tensor | None
    """(D, P) the principal components; None if all features are taken."""
    shape_basis: Tensor
    audio_basis: Tensor

    def __init__(
        self,
        *,
        features: int = SHAPE,
        components: int = 0,
        tokens: int = 6,
        direction: Direction = "a2v",
        depth: int = 0,
        width: int = 96,
        heads: int = 4,
        dropout: float = 0.1,
        slow: float = 10.0,
        local: float = 6.0,
        sharpness: float = 20.0,
        spread: float = 2.5,
    ) -> None:
        """features: D of the mouth. components: P, of more features than that; 0 for all. tokens: K of a direction.
        depth, width, heads, dropout: of a network with local attention that corrects the linear prediction; none with a
        depth of 0. slow, local, spread: standard deviations in frames of the Gaussian that is removed as slow movement,
        of the one that the scores of frames are computed in, and of the lags of real recordings. sharpness: factor of a
        correlation as a log-likelihood.
        """
        super().__init__()
        self.slow, self.local, self.sharpness, self.spread = slow, local, sharpness, spread
        self.tokens_per_direction = tokens
        self.directions: tuple[Direction, ...] = ("a2v", "v2a") if direction == "symmetric" else (direction,)
        self.register_buffer("reduction", torch.eye(features, components) if 0 < components < features else None)
        features = features if self.reduction is None else components
        sizes: dict[str, Any] = {"depth": depth, "width": width, "heads": heads, "dropout": dropout}
        if "a2v" in self.directions:
            self.predictor = nn.Conv1d(BANDS, tokens, 2 * CONTEXT + 1, stride=2)
            self.register_buffer("shape_basis", torch.eye(features, tokens))
            self.network = LocalNetwork(BANDS, tokens, kernel=2 * CONTEXT + 1, stride=2, **sizes) if depth else None
        if "v2a" in self.directions:
            self.audio_predictor = nn.Conv1d(features, tokens, CONTEXT + 1)
            self.register_buffer("audio_basis", torch.eye(BANDS, tokens))
            self.audio_network = (
                LocalNetwork(features, tokens, kernel=CONTEXT + 1, stride=1, **sizes) if depth else None
            )

    def forward(self, mel: Tensor, shape: Tensor) -> Evidence:
        """mel (B, 128, M) of `log_mel`, mouth (B, T, D) -> evidence. Frames of the longer one are left out."""
        return self.compare(*self.tokens(mel, shape))

    def tokens(self, mel: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of the audio and of the mouth (B, T, K), in float32, of the frames that both have.

        One of the two is predicted from the other; for "symmetric" there are 2 K, and each is predicted once.
        """
        pairs = self.pairs(mel, shape)
        sides = [pair if way == "a2v" else pair[::-1] for way, pair in zip(self.directions, pairs, strict=True)]
        audio, mouth = (torch.cat(side, dim=-1) for side in zip(*sides, strict=True))
        return audio, mouth

    def pairs(self, mel: Tensor, shape: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return predicted and actual tokens (B, T, K) of each direction, as in `tokens`."""
        with full_precision(mel):
            mel, shape = mel.float(), shape.float()
            made = {
                "a2v": lambda: (self.predict(mel), self.targets(shape)),
                "v2a": lambda: (self.predict_audio(shape), self.audio_targets(mel)),
            }
            pairs = [made[way]() for way in self.directions]
        length = min(x.shape[1] for pair in pairs for x in pair)
        return [(predicted[:, :length], actual[:, :length]) for predicted, actual in pairs]

    def compare(self, audio: Tensor, mouth: Tensor) -> Evidence:
        """Compare tokens (B, T, K) of the audio and of the mouth, in their own precision."""
        with full_precision(audio):
            sums = lagged_products(self.movement(audio), self.movement(mouth))
            agreement = correlation(*(values.sum(dim=2) for values in sums))
            around = gaussian(mouth.shape[1], self.local, mouth).mT
            local = correlation(*(values @ around for values in sums))
            return Evidence(self.log_ratio(agreement), self.log_ratio(local), agreement)

    def predict(self, mel: Tensor) -> Tensor:
        """Return the predicted tokens (B, M / 10, K) of a log mel (B, 128, M)."""
        return _predicted(self.predictor, self.network, padded_tokens(mel))

    def targets(self, shape: Tensor) -> Tensor:
        """Return the actual tokens (B, T, K) of a mouth shape (B, T, D)."""
        return self.reduced(shape) @ self.shape_basis

    def predict_audio(self, shape: Tensor) -> Tensor:
        """Return the tokens (B, T, K) that are predicted for the audio of a mouth shape (B, T, D)."""
        moving = self.movement(self.reduced(shape))
        return _predicted(self.audio_predictor, self.audio_network, padded_movement(moving))

    def audio_targets(self, mel: Tensor) -> Tensor:
        """Return the actual tokens (B, M / 10, K) of a log mel (B, 128, M)."""
        return frame_tokens(mel) @ self.audio_basis

    def reduced(self, shape: Tensor) -> Tensor:
        """Return the principal components (B, T, P) of a mouth (B, T, D), or the mouth if it is taken as it is."""
        return shape if self.reduction is None else shape @ self.reduction.to(shape.dtype)

    def movement(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, T, K) without their slow part."""
        return tokens - gaussian(tokens.shape[1], self.slow, tokens) @ tokens

    def log_ratio(self, agreement: Tensor) -> Tensor:
        """Correlations (B, L, ...) -> log-ratio (B, ...) of a real recording against any lag or no relation."""
        lags = torch.arange(-LAGS, LAGS + 1, device=agreement.device, dtype=agreement.dtype)
        prior = F.log_softmax(-0.5 * (lags / self.spread).square(), dim=0).view(-1, *[1] * (agreement.ndim - 2))
        evidence = self.sharpness * agreement
        real = torch.logsumexp(evidence + prior, dim=1)
        any_lag = torch.logsumexp(evidence, dim=1) - math.log(len(lags))
        return real - F.softplus(any_lag)  # softplus: no relation has the likelihood of a correlation of 0


def _predicted(linear: nn.Conv1d, network: LocalNetwork | None, padded: Tensor) -> Tensor:
    tokens = rearrange(linear(padded), "b k t -> b t k")
    return tokens if network is None else tokens + network(padded)


def audio_tokens(mel: Tensor) -> Tensor:
    """Pool a log mel (B, 128, M) to 32 bands and 20 ms: (B, 32, M / 5)."""
    return F.avg_pool2d(mel, _POOLED)


def padded_tokens(mel: Tensor) -> Tensor:
    """Return the audio tokens of a log mel (B, 128, M), the first and the last repeated for the context around them."""
    return F.pad(audio_tokens(mel), (CONTEXT, CONTEXT), mode="replicate")


def frame_tokens(mel: Tensor) -> Tensor:
    """Pool a log mel (B, 128, M) to 32 bands around each frame: (B, M / 10, 32)."""
    tokens = F.avg_pool1d(audio_tokens(mel), 3, stride=2, padding=1, count_include_pad=False)
    return rearrange(tokens, "b f t -> b t f")


def padded_movement(movement: Tensor) -> Tensor:
    """Return a movement (B, T, D) as (B, D, T + 12), the first and the last repeated for the context around them."""
    return F.pad(rearrange(movement, "b t d -> b d t"), (CONTEXT // 2, CONTEXT // 2), mode="replicate")


def lagged_products(predicted: Tensor, actual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Movements (B, T, K) -> (B, L, T): their products at each lag, and their squares.

    Time is that of the actual movement; where the predicted one has not begun or has ended, all three are 0.
    """
    length = predicted.shape[1]
    rows = []
    for lag in range(-LAGS, LAGS + 1):
        first, last = max(0, -lag), max(0, min(length, length - lag))
        mouth = actual[:, first:last]
        audio = predicted[:, first + lag : last + lag] if last > first else mouth
        pairs = torch.stack([(audio * mouth).sum(2), audio.square().sum(2), mouth.square().sum(2)])
        rows.append(F.pad(pairs, (first, length - max(last, first))))
    return tuple(torch.stack(rows, dim=2))


def correlation(product: Tensor, audio: Tensor, mouth: Tensor) -> Tensor:
    """Return the correlation of movements from sums of their products and squares; 0 where there is no movement."""
    return product / ((audio + _STILL) * (mouth + _STILL)).sqrt()


def gaussian(length: int, sigma: float, like: Tensor) -> Tensor:
    """Return the (T, T) matrix of a Gaussian mean over time; at the edges the mean is of the frames that there are."""
    time = torch.arange(length, device=like.device, dtype=like.dtype)
    weights = torch.exp(-0.5 * ((time[:, None] - time) / sigma).square())
    weights = weights * ((time[:, None] - time).abs() <= 4 * sigma)
    return weights / weights.sum(dim=1, keepdim=True)


def info_nce(predicted: Tensor, actual: Tensor, identities: Tensor, sharpness: float) -> Tensor:
    """Return the loss that tells the true lag from others of the clip, and the clip from those of other identities.

    Movements (B, T, K), identities (B,); the true lag is 0. No gradient reaches the actual movement.
    """
    actual = actual.detach()
    own = sharpness * correlation(*(p.sum(dim=2) for p in lagged_products(predicted, actual)))
    true = own[:, LAGS]
    lags = torch.arange(-LAGS, LAGS + 1, device=own.device).abs()
    # Choosing columns by a mask would wait for a GPU to count them.
    near = (lags > 0) & (lags <= _NEAR)
    moments = torch.logsumexp(own.masked_fill(near, -torch.inf), dim=1) - true
    same = same_identity(identities)
    across = info_nce_in_batch(predicted.flatten(1), actual.flatten(1), same, temperature=1 / sharpness)
    return moments.mean() + across
