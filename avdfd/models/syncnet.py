"""SyncNet: embeddings of 0.2 s of speech and of a face, and the distances between them at several lags.

    B batch   T frames, 25 per second   N = T - 5 windows   M cepstral frames, 4 per frame of video   L lags

The state_dict keys are the released ones. A clip in sync has a small distance at one lag and larger ones at the others.

References:
    Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avdfd.models.lags import REACH, at_lags

SPAN = 5
"""Frames of a window."""
PER_FRAME = 4
"""Cepstral frames per frame of video."""
SIDE = 224
"""Side of the face in pixels, which the network reduces to one point."""
EMBEDDING = 1024


class SyncNet(nn.Module):
    """Both networks. `width` is the number of channels and units relative to the released number."""

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()

        def of(count: int) -> int:
            return max(1, round(count * width))

        self.netcnnaud = nn.Sequential(
            *_block(nn.Conv2d(1, of(64), 3, padding=1)),
            nn.MaxPool2d(1),
            *_block(nn.Conv2d(of(64), of(192), 3, padding=1)),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_block(nn.Conv2d(of(192), of(384), 3, padding=1)),
            *_block(nn.Conv2d(of(384), of(256), 3, padding=1)),
            *_block(nn.Conv2d(of(256), of(256), 3, padding=1)),
            nn.MaxPool2d(3, stride=2),
            *_block(nn.Conv2d(of(256), of(512), (5, 4))),
        )
        self.netfcaud = _units(of(512), of(EMBEDDING))
        self.netcnnlip = nn.Sequential(
            *_block(nn.Conv3d(3, of(96), (SPAN, 7, 7), stride=(1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_block(nn.Conv3d(of(96), of(256), (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_block(nn.Conv3d(of(256), of(256), (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(of(256), of(256), (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(of(256), of(256), (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_block(nn.Conv3d(of(256), of(512), (1, 6, 6))),
        )
        self.netfclip = _units(of(512), of(EMBEDDING))

    def forward(self, faces: Tensor, cepstra: Tensor, *, reach: int = REACH) -> Tensor:
        """Faces (B, 3, T, 224, 224), blue first and from 0 to 255, cepstra (B, 13, M) -> distances (B, L)."""
        count = windows(faces.shape[2], cepstra.shape[2])
        video = self.embed_faces(faces[:, :, : count + SPAN - 1])
        return lag_distance(video, self.embed_speech(cepstra, count), reach)

    def embed_faces(self, faces: Tensor) -> Tensor:
        """Faces (B, 3, T, 224, 224) -> embeddings (B, T - 4, E) of 5 frames each.

        Only the first layer reaches over time, so the windows are computed together.
        """
        features = rearrange(self.netcnnlip(faces), "b c n 1 1 -> b n c")
        return self.netfclip(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def embed_speech(self, cepstra: Tensor, count: int) -> Tensor:
        """Cepstra (B, 13, M) -> embeddings (B, N, E) of the first N windows of 20 frames, one per frame of video."""
        parts = cepstra.unfold(2, PER_FRAME * SPAN, PER_FRAME)[:, :, :count]
        parts = rearrange(parts, "b f n m -> (b n) 1 f m")
        embedded = self.netfcaud(self.netcnnaud(parts).flatten(1))
        return embedded.unflatten(0, (len(cepstra), count))


def from_released(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a `SyncNet` from a released file, which may be older than the counters of batch norms.

    Nothing depends on these.
    """
    counters = {
        f"{key.removesuffix('running_mean')}num_batches_tracked": torch.tensor(0)
        for key in state_dict
        if key.endswith("running_mean")
    }
    return counters | dict(state_dict)


def windows(frames: int, cepstra: int) -> int:
    """Return the number of windows of a clip: as released, the last one that fits is left out.

    The last frame of a clip has one cepstral frame less, as each is longer than the step between them.
    """
    return min(frames, (cepstra + 1) // PER_FRAME) - SPAN


def lag_distance(video: Tensor, audio: Tensor, reach: int = REACH) -> Tensor:
    """Embeddings (B, N, E) -> mean distance at each lag (B, L).

    As released, the mean is over all N windows, and one without a partner at a lag is compared with zeros.
    """
    return F.pairwise_distance(video[:, :, None].float(), at_lags(audio.float(), reach)).mean(dim=1)


def confidence(distances: Tensor) -> Tensor:
    """Distances (B, L) -> confidence (B,) that some lag is the right one: the median less the smallest."""
    return distances.median(dim=1).values - distances.amin(dim=1)


def _block(convolution: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(convolution, nn.Conv2d) else nn.BatchNorm3d
    return convolution, norm(convolution.out_channels), nn.ReLU()


def _units(dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, out))
