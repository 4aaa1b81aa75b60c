"""The part of the audio branch that does not learn: a sound cut into patches, by its points or by its statistics.

B batch   N patches in time   K numbers of a patch
"""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from avdfd.config import AudioModelConfig
from avdfd.features.mel import MEL_BINS, MEL_FRAMES, log_mel, log_spectrum, zscore
from avdfd.features.statistics import GROUPS, STATISTICS, local_statistics


class Patches(NamedTuple):
    """What a front makes of B sounds."""

    values: Tensor
    """(B, N, K)."""


class Front(NamedTuple):
    """z-scored mel (B, 128, 768), or waveform (B, 49152) where there are spectra -> patches."""

    patches: int
    statistics: bool
    spectra: tuple[int, ...]
    """FFT sizes of the linear spectra whose statistics go beside those of the mel."""

    @classmethod
    def of(cls, config: AudioModelConfig) -> "Front":
        return cls(MEL_FRAMES // config.patch_frames, config.patches == "statistics", tuple(config.spectra))

    @property
    def numbers(self) -> int:
        """K."""
        if self.statistics:
            return STATISTICS * GROUPS * (1 + len(self.spectra))
        return MEL_BINS * MEL_FRAMES // self.patches

    def __call__(self, sound: Tensor) -> Patches:
        if not self.statistics:
            return Patches(rearrange(sound, "b f (n t) -> b n (f t)", n=self.patches))
        views = [sound]
        if self.spectra:
            # In float32 under autocast, too, which is used on GPUs: a spectrum has a range of 1e9.
            with torch.autocast("cuda", enabled=False) if sound.is_cuda else nullcontext():
                views = [zscore(log_mel(sound)), *(zscore(log_spectrum(sound, size)) for size in self.spectra)]
        return Patches(torch.cat([local_statistics(view, self.patches) for view in views], dim=2))
