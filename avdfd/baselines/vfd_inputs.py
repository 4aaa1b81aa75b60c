"""VFD's inputs: a mel spectrogram of the voice, and one frame of the face.

2022: dB mel (B, 512, 301) of 3 s        2023: mel (B, 128, 256) of 2.56 s
frames (B, H, W, 3) uint8 RGB in         faces (B, 3, S, S) uint8 out; `normalise_2022`, `normalise_2023` make floats

Functions take a whole batch, on any device; `rngs` has a random generator for every clip.

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195, 2022; ACM TOMM 20 (3), 2023.
    Slaney, "Auditory Toolbox", 1998 (mel scale of 2022, filters of unit area).
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021 (the channel
    means and standard deviations of 2023).
    Wang et al., "Temporal Segment Networks", ECCV 2016 (the crops of 2023).
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from avdfd.config import AugmentConfig
from avdfd.datasets.transforms import Rngs, resize, video_input
from avdfd.features.frames import constant
from avdfd.features.window import SAMPLE_RATE

VOICE_2022 = 48_000
"""Samples that 2022 takes: 3 s."""
VOICE_2023 = 40_960
"""Samples that 2023 takes: 2.56 s."""
MEL_2022 = (512, 301)
MEL_2023 = (128, 256)

_HOP = 160
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_AMIN = 1e-10
_TOP_DB = 80.0
# Heights and widths of crops relative to the frame, equal or neighbouring, so that a face is stretched little.
_SCALES = (1.0, 0.875, 0.75, 0.66)
_SIDES = [(a, b) for i, a in enumerate(_SCALES) for j, b in enumerate(_SCALES) if abs(i - j) <= 1]
# In quarters of the margin that a crop leaves: corners, centre, middles of the edges, halfway to the corners.
_OFFSETS = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)


def cut(waveforms: Tensor, length: int, rngs: Rngs | None) -> Tensor:
    """Cut `length` samples from waveforms (B, S): the middle, or random places if generators are given.

    The first sample is a multiple of 160, a mel frame, as in the released code of 2023.
    """
    room = (waveforms.shape[-1] - length) // _HOP
    assert room >= 0, f"{waveforms.shape[-1]} samples are fewer than {length}"
    if rngs is None:
        return waveforms.narrow(1, _HOP * (room // 2), length)
    starts = [_HOP * int(rng.integers(0, room + 1)) for rng in rngs]
    return torch.stack([one[start : start + length] for one, start in zip(waveforms, starts, strict=True)])


def mel_db_2022(waveform: Tensor) -> Tensor:
    """Waveform (..., 48000) in [-1, 1] -> mel power in dB relative to its maximum, at least -80: (..., 512, 301).

    The content of the released `.npy` files; `normalise_mel_2022` converts it to the model's input.
    """
    power = _power(waveform, n_fft=2048, window=2048, pad="constant")
    db = 10 * (_filters_2022(power.device) @ power).clamp_min(_AMIN).log10()
    return (db - db.amax(dim=(-2, -1), keepdim=True)).clamp_min(-_TOP_DB)


def normalise_mel_2022(db: Tensor) -> Tensor:
    """Divide each frame of a dB mel (..., 512, T) by its largest magnitude; a frame of zeros stays."""
    peak = db.abs().amax(dim=-2, keepdim=True)
    return db / torch.where(peak < torch.finfo(db.dtype).tiny, 1.0, peak)


def mel_2023(waveform: Tensor) -> Tensor:
    """Waveform (..., 40960) in [-1, 1] -> linear mel power, not normalised, as released: (..., 128, 256).

    The 257th frame, which is beyond the model's last whole patch, is left out.
    """
    power = _power(waveform, n_fft=512, window=480, pad="reflect")
    return (_filters_2023(power.device) @ power)[..., : MEL_2023[1]]


def one_frame(frames: Tensor, rngs: Rngs | None) -> Tensor:
    """Pick one of each clip's frames (B, n, H, W, 3): the middle, or a random one if generators are given."""
    if rngs is None:
        return frames[:, frames.shape[1] // 2]
    numbers = [int(rng.integers(frames.shape[1])) for rng in rngs]
    return torch.stack([clip[number] for clip, number in zip(frames, numbers, strict=True)])


def face_2022(frames: Tensor, size: int, augment: AugmentConfig, rngs: Rngs | None) -> Tensor:
    """Whole frames (B, H, W, 3) uint8 -> faces (B, 3, size, size) uint8, augmented if generators are given."""
    return video_input(frames[:, None], size, augment, rngs)[:, :, 0]


def face_2023(frames: Tensor, size: int, augment: AugmentConfig, rngs: Rngs | None) -> Tensor:
    """Frames (B, H, W, 3) uint8 -> faces (B, 3, size, size) uint8.

    Without generators the middle 7/8 of the frames; with them crops of random size and place, and augmentation.
    """
    if rngs is None:
        wide = resize(frames, size * 256 // 224, "bicubic")
        edge = (wide.shape[1] - size) // 2
        return wide[:, edge : edge + size, edge : edge + size].permute(0, 3, 1, 2).contiguous()
    crops = [resize(_crop(frame, rng)[None], size) for frame, rng in zip(frames, rngs, strict=True)]
    return face_2022(torch.cat(crops), size, augment, rngs)


def normalise_2022(face: Tensor) -> Tensor:
    """Scale uint8 faces (B, 3, S, S) to [-1, 1], on their device."""
    return face.float() / 127.5 - 1


def normalise_2023(face: Tensor) -> Tensor:
    """Normalise uint8 faces (B, 3, S, S) by CLIP's channel means and standard deviations, on their device."""
    mean, std = (constant(values, face.device).view(3, 1, 1) for values in (_MEAN, _STD))
    return (face.float() / 255 - mean) / std


def _crop(frame: Tensor, rng: Generator) -> Tensor:
    """Return a crop of random size and place from a frame (H, W, 3)."""
    height, width = (int(min(frame.shape[:2]) * side) for side in _SIDES[int(rng.integers(len(_SIDES)))])
    right, down = _OFFSETS[int(rng.integers(len(_OFFSETS)))]
    top, left = down * ((frame.shape[0] - height) // 4), right * ((frame.shape[1] - width) // 4)
    return frame[top : top + height, left : left + width]


def _power(waveform: Tensor, *, n_fft: int, window: int, pad: str) -> Tensor:
    """Power spectrum (..., n_fft / 2 + 1, T) of centred Hann windows, 10 ms apart."""
    hann = torch.hann_window(window, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, n_fft, _HOP, window, hann, center=True, pad_mode=pad, return_complex=True)
    return spectrum.abs().square()


@functools.cache
def _filters_2022(device: torch.device) -> Tensor:
    """Return 512 triangles of unit area (512, 1025) on Slaney's scale: linear to 1 kHz, then 27 steps to 6.4 kHz."""
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    mels = torch.linspace(0, top, MEL_2022[0] + 2, dtype=torch.float64)
    corners = torch.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    return (_triangles(corners, 2048) * 2 / (corners[2:] - corners[:-2])[:, None]).float().to(device)


@functools.cache
def _filters_2023(device: torch.device) -> Tensor:
    """Return 128 triangles of unit height (128, 257) on the HTK scale."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, MEL_2023[0] + 2, dtype=torch.float64) / 2595) - 1)
    return _triangles(corners, 512).float().to(device)


def _triangles(corners: Tensor, n_fft: int) -> Tensor:
    """Return triangles (N, n_fft / 2 + 1) of height 1; triangle i spans corners i, i + 1, i + 2 of (N + 2,), in Hz."""
    lines = torch.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1, dtype=torch.float64)
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return F.relu(torch.minimum((lines - low) / (centre - low), (high - lines) / (high - centre)))
