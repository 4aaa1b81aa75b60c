"""From an element to what a model sees. Augmentation is one draw per clip, and only where a generator is given.

mel (128, 768)   frames (T, H, W, 3) uint8 in   video (3, T, S, S) uint8 out; `normalise` runs on the device
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from avdfd.config import AugmentConfig
from avdfd.features import FRAMES, MEL_BINS, zscore

CLIP_FRAMES = 16
# The middle of each sixteenth of the window.
FRAME_CHOICE = [int((i + 0.5) * FRAMES / CLIP_FRAMES) for i in range(CLIP_FRAMES)]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def mel_input(log_mel: np.ndarray, augment: AugmentConfig, rng: Generator | None) -> Tensor:
    """Log mel (128, 768) -> z-scored mel, augmented if a generator is given.

    References: Park et al., "SpecAugment", Interspeech 2019 (masks).
    """
    mel = zscore(torch.from_numpy(log_mel))
    if rng is None:
        return mel
    if augment.mel_tilt:
        mel = zscore(mel + augment.mel_tilt * _smooth_curve(rng)[:, None])
    return noise_and_masks(mel, augment, rng)


def noise_and_masks(spectrogram: Tensor, augment: AugmentConfig, rng: Generator) -> Tensor:
    """Noise and SpecAugment's masks on a normalised spectrogram (bins, frames)."""
    bins, frames = spectrogram.shape
    if augment.mel_noise:
        noise = rng.standard_normal((bins, frames), dtype=np.float32)
        spectrogram = spectrogram + augment.mel_noise * torch.from_numpy(noise)
    if augment.time_mask:
        start, length = _span(rng, frames, augment.time_mask)
        spectrogram[:, start : start + length] = 0
    if augment.mel_mask:
        start, length = _span(rng, bins, augment.mel_mask)
        spectrogram[start : start + length] = 0
    return spectrogram


def video_input(
    frames: np.ndarray, size: int, augment: AugmentConfig, rng: Generator | None, *, per_frame: bool = False
) -> Tensor:
    """Frames (T, H, W, 3) uint8 -> video (3, T, size, size) uint8, augmented if a generator is given.

    One draw holds for all frames of a clip. `per_frame` draws flip and grey-scale anew for every frame, as the
    released code did; it destroys the temporal evidence and is there for faithful mode only.
    """
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    if video.shape[-1] != size:
        # Antialiased, so that a smaller model does not see folded high frequencies.
        rows = video.permute(1, 0, 2, 3).float()
        rows = F.interpolate(rows, size=(size, size), mode="bilinear", antialias=True)
        video = rows.round().clamp(0, 255).to(torch.uint8).permute(1, 0, 2, 3)
    if rng is None:
        return video.contiguous()
    draws = video.shape[1] if per_frame else 1
    flips = torch.from_numpy(rng.random(draws) < augment.flip)
    grays = torch.from_numpy(rng.random(draws) < augment.grayscale)
    if flips.any():
        video = torch.where(flips[None, :, None, None], video.flip(-1), video)
    if grays.any():
        video = torch.where(grays[None, :, None, None], _gray(video), video)
    if augment.brightness:
        gain, contrast = 1 + augment.brightness * rng.uniform(-1, 1, 2)
        mean = video.double().mean().float()
        video = ((video.float() - mean) * contrast + mean * gain).round().clamp(0, 255).to(torch.uint8)
    if augment.shift:
        reach = augment.shift * size // 224
        dy, dx = rng.integers(-reach, reach + 1, 2)
        rows, columns = (torch.arange(size).add(int(d)).clamp(0, size - 1) for d in (dy, dx))
        video = video[..., rows[:, None], columns]
    return video.contiguous()


def normalise(video: Tensor) -> Tensor:
    """uint8 video (B, 3, T, H, W) -> float with ImageNet's channel means and deviations, on the device it is on."""
    mean, std = (on_device(values, video.device).view(3, 1, 1, 1) for values in (_MEAN, _STD))
    return (video.float() / 255 - mean) / std


@functools.cache
def on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Constants on a device. They are copied once, as a copy waits for all that a GPU has been given to do before."""
    return torch.tensor(values, device=device)


def _smooth_curve(rng: Generator) -> Tensor:
    """A random curve over the mel bins (128,) of unit deviation, made of the lowest cosines."""
    bins = (np.arange(MEL_BINS) + 0.5) / MEL_BINS
    waves = np.cos(np.pi * np.outer(np.arange(1, 5), bins))
    return torch.from_numpy((rng.standard_normal(4) @ waves / np.sqrt(2)).astype(np.float32))


def _span(rng: Generator, total: int, longest: int) -> tuple[int, int]:
    length = int(rng.integers(0, min(longest, total) + 1))
    return int(rng.integers(0, total - length + 1)), length


def _gray(video: Tensor) -> Tensor:
    """ITU-R BT.601 luma in all three channels."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
    luma = (video.float() * weights).sum(dim=0, keepdim=True)
    return luma.round().clamp(0, 255).to(torch.uint8).expand_as(video)
