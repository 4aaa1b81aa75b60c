"""Transforms of a batch of stored examples into model inputs, on the device of the batch.

mel (B, 128, 768)   frames (B, T, H, W, 3) uint8 in   video (B, 3, T, S, S) uint8 out, which models normalise

Each clip is augmented by one draw from a generator of its own; without generators there is no augmentation. The few
random numbers of a draw come from NumPy. Noise for every point of a spectrogram comes from torch on the device, so it
differs between a CPU and a GPU.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from avdfd.config import AugmentConfig, SynchronyConfig
from avdfd.features.frames import constant
from avdfd.features.mel import log_mel, zscore
from avdfd.features.window import FPS, FRAMES, MEL_BINS, SECONDS

CLIP_FRAMES = 16
FRAME_CHOICE = [int((i + 0.5) * FRAMES / CLIP_FRAMES) for i in range(CLIP_FRAMES)]
"""The frame in the middle of each sixteenth of the window."""

_MIN_SHIFT = 2  # frames of a clip, 384 ms: out of sync in any speech

_LUMA = (0.299, 0.587, 0.114)

Seeds = Sequence[tuple[int, ...]]
Rngs = Sequence[Generator]


def generators(seeds: Seeds) -> list[Generator]:
    """Return a generator for every clip of a batch."""
    return [np.random.default_rng(seed) for seed in seeds]


def mel_of(audio: Tensor) -> Tensor:
    """Audio as read, 16-bit waveforms (B, 49152) or log mels -> log mels (B, 128, 768)."""
    return log_mel(floats(audio)) if audio.dtype == torch.int16 else audio


def floats(samples: Tensor) -> Tensor:
    """Convert 16-bit samples to floats in [-1, 1]."""
    return samples.float() / 32_768


def mel_input(log_mels: Tensor, augment: AugmentConfig, rngs: Rngs | None) -> Tensor:
    """Log mels (B, 128, 768) -> z-scored mels, augmented if generators are given.

    References: Park et al., "SpecAugment", Interspeech 2019 (masks).
    """
    mel = zscore(log_mels)
    if rngs is None:
        return mel
    if augment.mel_tilt:
        curves = _to(np.stack([_smooth_curve(rng) for rng in rngs]), mel.device)
        mel = zscore(mel + augment.mel_tilt * curves[:, :, None])
    return noise_and_masks(mel, augment, rngs)


def noise_and_masks(spectrograms: Tensor, augment: AugmentConfig, rngs: Rngs) -> Tensor:
    """Add noise and SpecAugment's masks to normalised spectrograms (B, bins, frames)."""
    if augment.mel_noise:
        noise = torch.empty_like(spectrograms)
        for one, rng in zip(noise, rngs, strict=True):
            one.normal_(generator=torch_generator(rng, noise.device))
        spectrograms = noise.mul_(augment.mel_noise).add_(spectrograms)
    if augment.time_mask:
        spectrograms = spectrograms.masked_fill(_spans(spectrograms, -1, augment.time_mask, rngs)[:, None], 0)
    if augment.mel_mask:
        spectrograms = spectrograms.masked_fill(_spans(spectrograms, -2, augment.mel_mask, rngs)[:, :, None], 0)
    return spectrograms


def torch_generator(rng: Generator, device: torch.device) -> torch.Generator:
    """Return a torch generator on a device, seeded from one of NumPy."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))


def video_input(
    frames: Tensor, size: int, augment: AugmentConfig, rngs: Rngs | None, *, per_frame: bool = False
) -> Tensor:
    """Frames (B, T, H, W, 3) uint8 -> video (B, 3, T, size, size) uint8, augmented if generators are given.

    One draw applies to all frames of a clip. `per_frame` draws flip and greyscale for every frame, as the released code
    did; this destroys temporal evidence and exists for faithful mode only.
    """
    video = resize(frames.flatten(0, 1), size).unflatten(0, frames.shape[:2])
    if rngs is not None:
        draws = video.shape[1] if per_frame else 1
        if augment.flip:
            video = _some_frames(video, augment.flip, draws, rngs, lambda images: images.flip(-2))
        if augment.grayscale:
            video = _some_frames(video, augment.grayscale, draws, rngs, _gray)
        if augment.brightness:
            video = _brightness(video, augment.brightness, rngs)
        if augment.shift:
            video = _shift(video, augment.shift * size // 224, rngs)
    return video.permute(0, 4, 1, 2, 3).contiguous()


def shift_out_of_sync(
    audio: Tensor, video: Tensor, shape: Tensor | None, label: Tensor, synchrony: SynchronyConfig, rngs: Rngs
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Circularly shift some clips, and the audio of some real ones against their video, which makes them fakes.

    audio (B, ..., S), video (B, 3, T, H, W), mouth shape (B, 77, 120) or None, label (B,). A circular shift leaves a
    seam where the end meets the start. Clips in sync are shifted too, so that a seam says nothing about the label.
    """
    frames = video.shape[2]
    step = audio.shape[-1] // frames
    audios, videos, shapes, labels = [], [], [], []
    for i, (one, images, truth, rng) in enumerate(zip(audio, video, label, rngs, strict=True)):
        both = int(rng.integers(frames)) if rng.random() < synchrony.turned else 0
        apart = int(rng.integers(_MIN_SHIFT, frames - _MIN_SHIFT + 1)) if rng.random() < synchrony.out_of_step else 0
        real = (truth == 0).to(torch.int64)  # stays on the device, so that nothing waits for a GPU
        audios.append(_circularly_shifted(one, (both + apart * real) * step))
        videos.append(images.roll(both, 1))
        shapes += [] if shape is None else [shape[i, _moments_before(both / frames)]]
        labels.append(torch.maximum(truth, torch.full_like(truth, float(apart > 0))))
    return torch.stack(audios), torch.stack(videos), torch.stack(shapes) if shapes else None, torch.stack(labels)


def _moments_before(part: float) -> list[int]:
    """Return for each moment of a window the one that is a part of the window earlier, circularly, to half a frame."""
    length = SECONDS * FPS
    return [min(round((k - part * length) % length), FRAMES - 1) for k in range(FRAMES)]


def _circularly_shifted(audio: Tensor, shift: Tensor) -> Tensor:
    """Roll audio (..., S) to the right by a shift that is on the device."""
    places = (torch.arange(audio.shape[-1], device=audio.device) - shift) % audio.shape[-1]
    return audio.index_select(-1, places)


def resize(images: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """Images (N, H, W, 3) uint8 -> (N, size, size, 3) uint8, antialiased like PIL's, within one or two levels.

    Without antialiasing, high frequencies would alias in the smaller image.
    """
    if images.shape[1:3] == (size, size):
        return images
    colours = images.permute(0, 3, 1, 2)
    if images.device.type == "cpu":  # has a fast path for bytes, which GPUs lack
        small = F.interpolate(colours, size=(size, size), mode=mode, antialias=True)
    else:
        small = resize_floats(colours, size, mode)
    return small.permute(0, 2, 3, 1)


def resize_floats(colours: Tensor, size: int, mode: str) -> Tensor:
    """Images (N, 3, H, W) uint8 -> (N, 3, size, size) uint8, as a GPU resizes them.

    Rows, then columns, and bytes between, as on a CPU and in PIL: where bicubic weights overshoot at an edge, sums of
    both at once differ by ten levels and more.
    """
    rows = _bytes(F.interpolate(colours.float(), size=(colours.shape[-2], size), mode=mode, antialias=True))
    return _bytes(F.interpolate(rows.float(), size=(size, size), mode=mode, antialias=True))


def _some_frames(video: Tensor, chance: float, draws: int, rngs: Rngs, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change random frames of a video (B, T, H, W, 3), picked in `draws` draws per clip."""
    picked = np.stack([rng.random(draws) < chance for rng in rngs])
    numbers = _to(np.flatnonzero(np.broadcast_to(picked, video.shape[:2])), video.device)
    images = video.flatten(0, 1)
    return images.index_copy(0, numbers, change(images.index_select(0, numbers))).view_as(video)


def _gray(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma in all three channels."""
    luma = (images.float() * constant(_LUMA, images.device)).sum(-1, keepdim=True)
    return _bytes(luma).expand_as(images)


def _brightness(video: Tensor, most: float, rngs: Rngs) -> Tensor:
    """Change gain and contrast per clip; sums are of integers, so their order does not matter."""
    factors = 1 + most * np.stack([rng.uniform(-1, 1, 2) for rng in rngs]).astype(np.float32)
    gain, contrast = _to(factors.T, video.device)[..., None, None, None, None]
    mean = (video.sum((1, 2, 3, 4), keepdim=True, dtype=torch.int64) / video[0].numel()).float()
    return _bytes((video.float() - mean) * contrast + mean * gain)


def _shift(video: Tensor, reach: int, rngs: Rngs) -> Tensor:
    """Translate each clip by up to `reach` pixels, and repeat the edge where pixels are missing."""
    size = video.shape[2]
    for axis in (2, 3):
        first, last = video.narrow(axis, 0, 1), video.narrow(axis, size - 1, 1)
        edges = [reach if n == axis else -1 for n in range(5)]
        video = torch.cat([first.expand(edges), video, last.expand(edges)], dim=axis)
    starts = [rng.integers(0, 2 * reach + 1, 2).tolist() for rng in rngs]
    return torch.stack([clip[:, y : y + size, x : x + size] for clip, (y, x) in zip(video, starts, strict=True)])


def _smooth_curve(rng: Generator) -> np.ndarray:
    """Draw a random curve over the mel bins (128,) of unit standard deviation, from the lowest cosines."""
    return (rng.standard_normal(4) @ _waves() / np.sqrt(2)).astype(np.float32)


@functools.cache
def _waves() -> np.ndarray:
    """Return the four lowest cosines over the mel bins (4, 128)."""
    bins = (np.arange(MEL_BINS) + 0.5) / MEL_BINS
    return np.cos(np.pi * np.outer(np.arange(1, 5), bins))


def _spans(spectrograms: Tensor, axis: int, longest: int, rngs: Rngs) -> Tensor:
    """Draw one span to mask per clip along an axis: bool (B, places)."""
    total = spectrograms.shape[axis]
    lengths = [int(rng.integers(0, min(longest, total) + 1)) for rng in rngs]
    starts = [int(rng.integers(0, total - length + 1)) for rng, length in zip(rngs, lengths, strict=True)]
    start, length = _to(np.array([starts, lengths]), spectrograms.device)[:, :, None]
    places = torch.arange(total, device=spectrograms.device)
    return (places >= start) & (places < start + length)


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
