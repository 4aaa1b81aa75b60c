"""The audio branch's fixed front end: audio cut into patches, described by their points or by their statistics.

    B batch   N patches in time   K values of a patch

It has no parameters.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from avdfd.features.mel import log_mel, log_spectrum, zscore
from avdfd.features.statistics import GROUPS, STATISTICS, local_statistics
from avdfd.features.window import MEL_BINS, MEL_FRAMES
from OpenAVFF.precision import full_precision


class Patches(NamedTuple):
    """Output of the front end for B clips."""

    values: Tensor
    """(B, N, K)."""


class Front(NamedTuple):
    """Front end: z-scored mel (B, 128, 768), or waveform (B, 49152) if there are spectra -> patches (B, N, K)."""

    patches: int = 12
    """N."""
    statistics: bool = False
    """Describe a patch by its local statistics instead of its points."""
    spectra: tuple[int, ...] = ()
    """FFT sizes of the linear spectra whose statistics are appended to those of the mel."""

    @property
    def numbers(self) -> int:
        """K."""
        if self.statistics:
            return STATISTICS * GROUPS * (1 + len(self.spectra))
        return MEL_BINS * MEL_FRAMES // self.patches

    def __call__(self, audio: Tensor) -> Patches:
        if not self.statistics:
            return Patches(rearrange(audio, "b f (n t) -> b n (f t)", n=self.patches))
        views = [audio]
        if self.spectra:
            # A spectrum has a range of 1e9.
            with full_precision(audio):
                views = [zscore(log_mel(audio)), *(zscore(log_spectrum(audio, size)) for size in self.spectra)]
        return Patches(torch.cat([local_statistics(view, self.patches) for view in views], dim=2))
