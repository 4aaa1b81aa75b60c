"""What the training scripts share around their visible loops: devices, seeds, resumable state."""

import contextlib
import math
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avdfd import checkpoint, config
from avdfd.config import AudioModelConfig, RunConfig, TrainConfig
from avdfd.errors import UserError
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector
from avdfd.released import fill
from avdfd.tracking import BEST, LAST, RunFolder, summary


def pick_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one. Raises UserError if a GPU is asked for and none is usable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': no usable GPU found; use --device=auto or cpu, or check the driver")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch. Augmentation has seeds of its own (avdfd/datasets/samplers.py)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on a GPU if asked for; nothing on a CPU."""
    if device.type == "cuda" and precision == "bf16":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


@dataclass
class Progress:
    """Where a run is: the next epoch, the best validation value and how long ago it was."""

    epoch: int = 0
    best: float = -math.inf
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    """Validation loss of every epoch, where it is measured."""

    def update(self, value: float) -> bool:
        """Counts an epoch with this validation value; True if it is the new best."""
        self.epoch += 1
        improved = value > self.best
        self.best = max(value, self.best)
        self.stale = 0 if improved else self.stale + 1
        return improved


def model_state(cfg: RunConfig, model: nn.Module, **more: Any) -> dict[str, Any]:
    """What it takes to use the model again: weights, config, and what else the kind of run needs."""
    return {"config": cfg.model_dump(), "model": model.state_dict(), **more}


def keep_epoch(
    run: RunFolder,
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    values: dict[str, float],
    metric: str,
) -> None:
    """Ends an epoch: counts it, records its numbers, and saves the model as `last`, and as `best` if it is.

    The best epoch has the highest `val_<metric>`, or the lowest if the metric is the loss.
    `last` holds what it takes to train on as if nothing had happened. It is written at the very end, so whatever
    interrupts an epoch before that, the epoch is done again.
    """
    value = values[f"val_{metric}"]
    is_best = progress.update(-value if metric == "loss" else value)
    if "val_loss" in values:
        progress.losses.append(values["val_loss"])
    run.epoch(progress.epoch, values)
    run.log(f"epoch {progress.epoch}: {summary(values)}{'  best' if is_best else ''}")
    if is_best:
        checkpoint.save(run.path / BEST, state)
    training = {
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    checkpoint.save(run.path / LAST, state | training)


def restore(
    run: RunFolder,
    cfg: RunConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ignore: Collection[str] = (),
) -> Progress:
    """Puts model, optimiser and random state back to the end of the run's last epoch; a fresh run stays as it is.

    `ignore` names sections of the config that do not concern this run.
    Raises UserError if the checkpoint is damaged or of another config.
    """
    path = run.path / LAST
    if not path.exists():
        run.forget_after(0)
        return Progress()
    state = checkpoint.load(path, cfg.kind)
    before, now = ({k: v for k, v in c.items() if k not in ignore} for c in (state["config"], cfg.model_dump()))
    changed = different_keys(before, now)
    if changed:
        raise UserError(f"{path}: made with another {changed[0]}; restore it, or change 'name' for a new run")
    fill(model, state["model"], source=str(path))
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    progress = Progress(**state["progress"])
    run.forget_after(progress.epoch)
    return progress


def different_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, with both values. Where and on how many processes a run works may change."""
    free = {"runs", "device", "workers", "patience"}
    changed = []
    for key in sorted((old.keys() | new.keys()) - free):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += different_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"'{prefix}{key}' ({before} -> {after})")
    return changed


def build_detector(cfg: TrainConfig, audio: AudioModelConfig) -> Detector:
    """Stage 2's model with random weights, on top of a stage-1 encoder of the given sizes."""
    return Detector(audio, cfg.visual, cfg.predictor, faithful=cfg.faithful)


def load_audio_net(path: str | Path) -> tuple[AudioNet, AudioModelConfig]:
    """The stage-1 model of a run folder (its best) or checkpoint file. Raises UserError if there is none."""
    path = Path(path)
    path = path / BEST if path.is_dir() else path
    content = checkpoint.load(path, "pretrain")
    audio = config.parse(content["audio_model"], AudioModelConfig, source=str(path))
    model = AudioNet(audio)
    fill(model, content["model"], source=str(path))
    return model, audio
