"""DIRE of a log mel: its reconstruction error by a diffusion model.

A model of real audio leads the mel to noise and back by DDIM. It reconstructs well what resembles its training data;
the absolute error of each bin is the model input `mel_err`.

    mel (128, 768)
    tiles (B, 1, H, W) for the diffusion model: all bands, W mel frames each; H a multiple of 128, W a divisor of 768

A model of 256 x 256, such as teticio/audio-diffusion-ddim-256, is given three tiles of 256 mel frames in which each
band fills two rows. Each tile takes 40 evaluations of a network of 114 million weights, so use a GPU. Weights are not
downloaded; `diffusers`, which runs the model, must be installed.

References:
    Wang et al., "DIRE for Diffusion-Generated Image Detection", ICCV 2023.
    Song et al., "Denoising Diffusion Implicit Models", ICLR 2021.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from avdfd.config.reconstruction import ReconstructionConfig
from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import sha256_of
from avdfd.core.text import parse_json
from avdfd.features.window import MEL_BINS, MEL_FRAMES
from avdfd.training.distributed import pick_device

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_DECIBEL = 10 / math.log(10)
_FLOOR = 1e-6

PredictNoise = Callable[[Tensor, int], Tensor]
"""(tiles (B, 1, H, W), time step) -> their noise."""


class Schedule(NamedTuple):
    """Noise schedule of the training of a model."""

    signal: Tensor
    """(steps,): share of the signal in the variance by time step; alpha-bar."""
    clip: float | None
    """Bound of the absolute values of a clean tile; None if they have none."""


class Reconstruction:
    """Diffusion model named by a config.

    Raises UserError if `diffusers` or the model is missing, or if the model does not fit.
    """

    def __init__(self, config: ReconstructionConfig) -> None:
        self.config = config
        self.device = pick_device(config.device)
        self.unet, self.schedule = _load(config)
        self.unet.to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def error(self, mel: np.ndarray) -> np.ndarray:
        """Return |mel - its reconstruction| (128, 768) float32 of a log mel as `log_mel` returns it, in its units.

        On a CPU it depends on the mel, the model and the number of threads only. Raises MediaError if it is not finite.
        """
        assert mel.shape == (MEL_BINS, MEL_FRAMES), mel.shape
        log_mel = torch.from_numpy(mel.astype(np.float32)).to(self.device)
        scaled, unit = _to_range(log_mel, self.config)
        height, width = _size(self.unet.config)
        repeat = height // MEL_BINS
        tiles = rearrange(scaled, "f (n w) -> n 1 f w", w=width).repeat_interleave(repeat, dim=2)
        back = reconstruct(tiles, lambda x, t: self.unet(x, t).sample, self.schedule, self.config.steps)
        restored = reduce(back, "n 1 (f r) w -> f (n w)", "mean", r=repeat)
        error = ((scaled - restored).abs() * unit).cpu().numpy()
        if not np.isfinite(error).all():
            raise MediaError("the reconstruction error of its audio (mel_err) is not finite")
        return error


def reconstruct(tiles: Tensor, predict_noise: PredictNoise, schedule: Schedule, steps: int) -> Tensor:
    """Lead tiles (B, 1, H, W) to noise in `steps` DDIM steps and back in as many."""
    last = len(schedule.signal)
    times = [0] + [round(number * last / steps) - 1 for number in range(1, steps + 1)]
    signal = [1.0] + [float(schedule.signal[time]) for time in times[1:]]
    x = tiles
    for here, there in zip(range(steps), range(1, steps + 1), strict=True):
        x = _step(x, predict_noise(x, times[here]), signal[here], signal[there], schedule.clip)
    for here, there in zip(range(steps, 0, -1), range(steps - 1, -1, -1), strict=True):
        x = _step(x, predict_noise(x, times[here]), signal[here], signal[there], schedule.clip)
    return x


def _step(x: Tensor, noise: Tensor, here: float, there: float, clip: float | None) -> Tensor:
    """Move `x` from alpha-bar `here` to `there`, to more or to less noise, by a DDIM step with the predicted noise."""
    clean = (x - math.sqrt(1 - here) * noise) / math.sqrt(here)
    if clip is not None and here < 1:
        clean = clean.clamp(-clip, clip)
        noise = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
    return math.sqrt(there) * clean + math.sqrt(1 - there) * noise


def _to_range(mel: Tensor, config: ReconstructionConfig) -> tuple[Tensor, float]:
    """Return the mel scaled to the model's range, and the mel units per unit of that range."""
    if config.scale == "zscore":
        unit = float(mel.double().std()) + _FLOOR
        return (mel - float(mel.double().mean())) / unit, unit
    unit = config.range_db / 2 / _DECIBEL
    return (1 + (mel - mel.max()) / unit).clamp(min=-1), unit


def _load(config: ReconstructionConfig) -> tuple[nn.Module, Schedule]:
    try:
        from diffusers import DDIMScheduler, UNet2DModel  # optional, and slow to import
    except ImportError:
        raise UserError(
            "mel_err: diffusers, which runs the model, is not installed; .venv/bin/python -m pip install diffusers"
        ) from None
    root = Path(config.model)
    folder = root / "unet" if (root / "unet").is_dir() else root
    values = _read_json(folder / "config.json")
    if values.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise UserError(f"{folder}: is a {values['_class_name']}; an unconditional UNet2DModel is needed")
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
            f"{place}: prediction_type {noise.config.prediction_type}; a model that predicts epsilon is needed"
        )
    if config.steps > len(noise.alphas_cumprod):
        raise UserError(
            f"{place}: steps is {config.steps}; the model was trained with {len(noise.alphas_cumprod)} steps, use at "
            "most as many"
        )
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
        raise UserError(f"{folder}: {config.in_channels} input channels; a model with 1 is needed")
    height, width = _size(config)
    if not height or height % MEL_BINS or not width or MEL_FRAMES % width:
        raise UserError(
            f"{folder}: sample_size {config.sample_size}; its height must be a multiple of {MEL_BINS} and its width a "
            f"divisor of {MEL_FRAMES}"
        )


def _size(config: Any) -> tuple[int, int]:
    """Return height and width of the model's tiles; 0 if its config does not state them."""
    size = config.sample_size or 0
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; name the folder of a diffusers UNet2DModel, or of its pipeline"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); get it again") from None
