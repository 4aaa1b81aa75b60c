"""Optimisers and learning-rate schedules of the two stages and of the baselines' recipes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from avdfd.config import OptimConfig, RecipeConfig

Groups = Iterable[tuple[Iterable[nn.Parameter], float]]
"""Parameters with the scale of their learning rate; frozen parameters and scale 0 are left out."""


def warmup_cosine(epoch: int, config: OptimConfig) -> float:
    """Return the learning-rate factor of an epoch (from 0): linear warm-up to 1, then cosine to `min_lr_ratio`."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def adamw(groups: Groups, config: OptimConfig) -> AdamW:
    """Return the AdamW optimiser of a stage."""
    return AdamW(_trainable(groups, config.lr), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def set_epoch_lr(optimizer: Optimizer, epoch: int, config: OptimConfig) -> float:
    """Set the learning rates of an epoch; return the unscaled one."""
    return _set_lr(optimizer, config.lr * warmup_cosine(epoch, config))


def recipe_factor(recipe: RecipeConfig, losses: Sequence[float]) -> float:
    """Return the learning-rate factor of the epoch after those with these validation losses."""
    epoch = len(losses)
    if epoch < recipe.warmup_epochs:
        return (epoch + 1) / recipe.warmup_epochs
    start = max(recipe.hold, recipe.warmup_epochs)
    if recipe.schedule == "halving":
        return 0.5 ** (0 if epoch < recipe.halve_from else 1 + (epoch - recipe.halve_from) // recipe.halve_every)
    if recipe.schedule == "plateau":
        return _plateau_factor(losses, recipe.plateau, recipe.plateau_factor)
    if recipe.schedule == "linear":
        return 1 - max(0, epoch + 1 - start) / max(1, recipe.epochs - start + 1)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * max(0, epoch - start) / max(1, recipe.epochs - start)))
    return 1.0


def recipe_optimizer(groups: Groups, recipe: RecipeConfig) -> Optimizer:
    """Return the optimiser of a baseline's recipe."""
    trainable, decay = _trainable(groups, recipe.lr), recipe.weight_decay
    beta1, beta2 = recipe.betas
    if recipe.optimizer == "sgd":
        return SGD(trainable, lr=recipe.lr, momentum=beta1, weight_decay=decay, fused=True)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(trainable, lr=recipe.lr, betas=(beta1, beta2), weight_decay=decay, fused=True)


def set_recipe_lr(optimizer: Optimizer, losses: Sequence[float], recipe: RecipeConfig) -> float:
    """Set the learning rates of the next epoch; return the unscaled one."""
    return _set_lr(optimizer, recipe.lr * recipe_factor(recipe, losses))


def _plateau_factor(losses: Sequence[float], patience: int, by: float) -> float:
    """Multiply the factor whenever the loss has not fallen by a relative 1e-4 for more than `patience` epochs."""
    best, stale, factor = math.inf, 0, 1.0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, stale = loss, 0
        else:
            stale += 1
        if stale > patience:
            factor, stale = factor * by, 0
    return factor


def _trainable(groups: Groups, lr: float) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for parameters, scale in groups:
        trainable = [p for p in parameters if p.requires_grad]
        if trainable and scale > 0:
            kept.append({"params": trainable, "lr": lr * scale, "scale": scale})
    return kept


def _set_lr(optimizer: Optimizer, lr: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    return lr
