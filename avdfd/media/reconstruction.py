"""DIRE of a log mel: how far a diffusion model is from giving it back.

A model of real sound takes its way to noise and back (DDIM); what it cannot give back it has not learned. The input
that AVDFD calls `mel_err` is that error, bin by bin.

    mel (128, 768)   pictures (B, 1, H, W) of the model: all bands, W frames; H a multiple of 128, W a divisor of 768

A model of 256 x 256, such as teticio/audio-diffusion-ddim-256, sees three pictures of 256 frames, in which each band
is two rows; 40 evaluations of 114 million weights for each of them want a GPU. One gets the weights oneself, and
`diffusers`, which runs them.

References:
    Wang et al., "DIRE for Diffusion-Generated Image Detection", ICCV 2023.
    Song et al., "Denoising Diffusion Implicit Models", ICLR 2021.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.features.mel import MEL_BINS, MEL_FRAMES
from avdfd.training.distributed import pick_device

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_DECIBEL = 10 / math.log(10)
_FLOOR = 1e-6

PredictNoise = Callable[[Tensor, int], Tensor]
"""(pictures (B, 1, H, W), time step) -> the noise in them."""


class Schedule(NamedTuple):
    """The noise that a model was trained with."""

    signal: Tensor
    """(steps,): part of the variance that is still the picture's, by time step; alpha-bar."""
    clip: float | None
    """Pictures are known to lie within +- this; None if they need not."""


class Reconstruction:
    """The model that a config names. Raises UserError if it, or what runs it, is not there or does not fit."""

    def __init__(self, config: ReconstructionConfig) -> None:
        self.config = config
        self.device = pick_device(config.device)
        self.unet, self.schedule = _load(config)
        self.unet.to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def error(self, mel: np.ndarray) -> np.ndarray:
        """Log mel (128, 768), as `log_mel` makes it -> |mel - its reconstruction| (128, 768) float32, in its units.

        On a CPU the same for the same mel, model and number of threads.
        """
        assert mel.shape == (MEL_BINS, MEL_FRAMES), mel.shape
        log_mel = torch.from_numpy(mel.astype(np.float32)).to(self.device)
        scaled, unit = _to_range(log_mel, self.config)
        height, width = _size(self.unet.config)
        repeat = height // MEL_BINS
        pictures = rearrange(scaled, "f (n w) -> n 1 f w", w=width).repeat_interleave(repeat, dim=2)
        back = reconstruct(pictures, lambda x, t: self.unet(x, t).sample, self.schedule, self.config.steps)
        restored = reduce(back, "n 1 (f r) w -> f (n w)", "mean", r=repeat)
        return ((scaled - restored).abs() * unit).cpu().numpy()


def reconstruct(pictures: Tensor, predict_noise: PredictNoise, schedule: Schedule, steps: int) -> Tensor:
    """Pictures (B, 1, H, W) led to noise in `steps` DDIM steps, and back in as many."""
    last = len(schedule.signal)
    times = [0] + [round(number * last / steps) - 1 for number in range(1, steps + 1)]
    signal = [1.0] + [float(schedule.signal[time]) for time in times[1:]]
    x = pictures
    for here, there in zip(range(steps), range(1, steps + 1), strict=True):
        x = _step(x, predict_noise(x, times[here]), signal[here], signal[there], schedule.clip)
    for here, there in zip(range(steps, 0, -1), range(steps - 1, -1, -1), strict=True):
        x = _step(x, predict_noise(x, times[here]), signal[here], signal[there], schedule.clip)
    return x


def _step(x: Tensor, noise: Tensor, here: float, there: float, clip: float | None) -> Tensor:
    """From one level of noise to another, less or more, as if the noise predicted were right."""
    clean = (x - math.sqrt(1 - here) * noise) / math.sqrt(here)
    if clip is not None and here < 1:
        clean = clean.clamp(-clip, clip)
        noise = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
    return math.sqrt(there) * clean + math.sqrt(1 - there) * noise


def _to_range(mel: Tensor, config: ReconstructionConfig) -> tuple[Tensor, float]:
    """The mel in the model's range, and what 1 of that is in the mel."""
    if config.scale == "zscore":
        unit = float(mel.double().std()) + _FLOOR
        return (mel - float(mel.double().mean())) / unit, unit
    unit = config.range_db / 2 / _DECIBEL
    return (1 + (mel - mel.max()) / unit).clamp(min=-1), unit


def _load(config: ReconstructionConfig) -> tuple[nn.Module, Schedule]:
    try:
        from diffusers import DDIMScheduler, UNet2DModel  # nothing else needs it, and it is large
    except ImportError:
        raise UserError(
            "mel_err: diffusers, which runs the model, is not there; .venv/bin/python -m pip install diffusers"
        ) from None
    root = Path(config.model)
    folder = root / "unet" if (root / "unet").is_dir() else root
    values = _read_json(folder / "config.json")
    if values.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise UserError(f"{folder}: a {values['_class_name']}; an unconditional UNet2DModel is wanted")
    _check_weights(folder, config.sha256)
    try:
        unet = UNet2DModel.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: does not load as a UNet2DModel ({str(error).splitlines()[0]})") from None
    _check_form(unet.config, folder)

    place = (root if folder == root else root / "scheduler") / "scheduler_config.json"
    noise = DDIMScheduler.from_config(_read_json(place) if place.is_file() else {})
    if noise.config.prediction_type != "epsilon":
        raise UserError(
            f"{place}: prediction_type {noise.config.prediction_type}; a model that predicts epsilon is wanted"
        )
    if config.steps > len(noise.alphas_cumprod):
        raise UserError(f"{place}: {config.steps} steps are more than the {len(noise.alphas_cumprod)} of its training")
    clip = noise.config.clip_sample_range if noise.config.clip_sample else None
    return unet, Schedule(noise.alphas_cumprod, clip)


def _check_weights(folder: Path, sha256: str) -> None:
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: has no {WEIGHTS[0]}; name the folder of a diffusers UNet2DModel")
    found = sha256_of(path)
    if found != sha256.lower():
        raise UserError(f"{path}: sha256 is {found}, the config expects {sha256}; get the file again")


def _check_form(config: Any, folder: Path) -> None:
    if (config.in_channels, config.out_channels) != (1, 1):
        raise UserError(f"{folder}: pictures of {config.in_channels} channels; a mel has 1")
    height, width = _size(config)
    if not height or height % MEL_BINS or not width or MEL_FRAMES % width:
        raise UserError(
            f"{folder}: sample_size {config.sample_size}; a mel fills pictures whose height is a multiple of "
            f"{MEL_BINS} and whose width divides {MEL_FRAMES}"
        )


def _size(config: Any) -> tuple[int, int]:
    """Height and width of the model's pictures; 0 if it does not say."""
    size = config.sample_size or 0
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; name the folder of a diffusers UNet2DModel, or of its pipeline"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); get it again") from None
