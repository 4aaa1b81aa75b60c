"""Optimiser and learning-rate schedule."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from avdfd.config import OptimConfig


def warmup_cosine(epoch: int, config: OptimConfig) -> float:
    """Learning-rate factor of an epoch (from 0): linear warm-up to 1, then cosine to `min_lr_ratio`."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def adamw(groups: Iterable[tuple[Iterable[nn.Parameter], float]], config: OptimConfig) -> AdamW:
    """AdamW over (parameters, learning-rate scale) groups; frozen parameters and groups of scale 0 are left out."""
    kept: list[dict[str, Any]] = []
    for parameters, scale in groups:
        trainable = [p for p in parameters if p.requires_grad]
        if trainable and scale > 0:
            kept.append({"params": trainable, "lr": config.lr * scale, "scale": scale})
    return AdamW(kept, lr=config.lr, weight_decay=config.weight_decay)


def set_epoch_lr(optimizer: torch.optim.Optimizer, epoch: int, config: OptimConfig) -> float:
    """Sets the learning rates of an epoch and returns the unscaled one."""
    lr = config.lr * warmup_cosine(epoch, config)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    return lr
