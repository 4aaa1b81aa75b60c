"""Overlapping triangular mel bands that cover all bins of a spectrum."""

import functools

import torch
from torch import Tensor


@functools.cache
def mel_bands(count: int, bins: int) -> Tensor:
    """Return triangles (count, bins) on the HTK mel scale up to 8 kHz; the weights of each add up to 1.

    A band is at least two bins wide, so that every bin is in a band and every band has a bin.
    """
    top = 2595 * torch.log10(torch.tensor(1 + 8000 / 700, dtype=torch.float64))
    centres = 700 * (10 ** (torch.linspace(0, 1, count, dtype=torch.float64) * top / 2595) - 1) / 8000 * (bins - 1)
    width = torch.cat([centres.diff(), centres.diff()[-1:]]).clamp_min(2)
    distance = (torch.arange(bins, dtype=torch.float64) - centres[:, None]).abs()
    triangles = (1 - distance / width[:, None]).clamp_min(0)
    return (triangles / triangles.sum(1, keepdim=True)).float()
