"""Checks of a saved training state against the run that is to resume from it, before anything is loaded.

A fused optimiser takes the sizes of its own tensors for granted: with shorter ones, it writes outside their memory.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from avdfd.core.errors import UserError
from avdfd.training.state_dicts import check_dense, check_finite

_REMEDY = "change 'name' for a new run"


def check_optimizer(optimizer: Optimizer, saved: Any, source: str) -> None:
    """Check the saved state of an optimiser: the same groups and settings, and for every parameter tensors like it.

    The learning rate, which is set in every epoch, may differ. Raises UserError.
    """
    if not isinstance(saved, dict) or saved.keys() != {"state", "param_groups"}:
        raise UserError(f"{source}: the optimiser's state is damaged; {_REMEDY}")
    own = optimizer.state_dict()["param_groups"]
    groups = saved["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own):
        raise UserError(f"{source}: saved with another optimiser (other groups of parameters); {_REMEDY}")
    for before, now in zip(groups, own, strict=True):
        _check_group(before, now, source)
    parameters = {
        number: parameter
        for group, stated in zip(optimizer.param_groups, own, strict=True)
        for number, parameter in zip(stated["params"], group["params"], strict=True)
    }
    names = {"momentum_buffer"} if isinstance(optimizer, SGD) else {"step", "exp_avg", "exp_avg_sq"}
    states = saved["state"]
    if not isinstance(states, dict) or not states.keys() <= parameters.keys():
        raise UserError(f"{source}: saved with another optimiser (state of other parameters); {_REMEDY}")
    for number, state in states.items():
        if not isinstance(state, dict) or state.keys() != names:
            raise UserError(f"{source}: saved with another optimiser (other state of parameter {number}); {_REMEDY}")
        for name, value in state.items():
            _check_value(value, name, parameters[number], f"{source}: the optimiser's {name} of parameter {number}")


def _check_group(before: Any, now: Mapping[str, Any], source: str) -> None:
    if not isinstance(before, dict) or not {"params", "lr", "scale"} <= before.keys() <= now.keys():
        raise UserError(f"{source}: saved with another optimiser (other settings); {_REMEDY}")
    for key, value in before.items():
        if key == "lr":
            valid = isinstance(value, float) and math.isfinite(value)
        else:
            valid = type(value) is type(now[key]) and value == now[key]
        if not valid:
            raise UserError(f"{source}: saved with another optimiser (other {key}); {_REMEDY}")


def _check_value(value: Any, name: str, parameter: Tensor, what: str) -> None:
    if value is None and name == "momentum_buffer":
        return
    check_dense(value, what)
    like = torch.empty((), dtype=torch.float32) if name == "step" else parameter
    if (value.shape, value.dtype, _strides(value)) != (like.shape, like.dtype, _strides(like)):
        raise UserError(f"{what} has another shape, type or layout than the parameter; {_REMEDY}")
    check_finite(value, what)


def _strides(value: Tensor) -> list[int]:
    """Return the strides of a tensor, without those that no element depends on."""
    return [step for step, size in zip(value.stride(), value.shape, strict=True) if size > 1]


def check_generators(saved: Any, source: str) -> None:
    """Check the states of torch's generators, a pair (CPU, GPU or None) per process. Raises UserError."""
    valid = _are_pairs(saved) and all(
        _is_bytes(cpu, len(torch.get_rng_state())) and (cuda is None or _is_bytes(cuda, 16)) for cpu, cuda in saved
    )
    try:
        for cpu, _ in saved if valid else ():
            torch.Generator().set_state(cpu)
    except RuntimeError:
        valid = False
    if not valid:
        raise UserError(f"{source}: the state of its random numbers is damaged; {_REMEDY}")


def _are_pairs(saved: Any) -> bool:
    return (
        isinstance(saved, list) and len(saved) > 0 and all(isinstance(pair, tuple) and len(pair) == 2 for pair in saved)
    )


def _is_bytes(value: Any, size: int) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.shape == (size,) and not value.is_meta


def check_progress(saved: Any, now: Mapping[str, Any], source: str) -> None:
    """Check the saved progress of a run: the fields of this version, with values of their types. Raises UserError."""
    if not isinstance(saved, dict) or saved.keys() != now.keys():
        raise UserError(f"{source}: saved by another version of this code; {_REMEDY}")
    losses = saved["losses"] if isinstance(saved["losses"], list) else [None]
    steps = saved["step_losses"] if isinstance(saved["step_losses"], list) else [None]
    valid = (
        all(type(saved[key]) is type(now[key]) for key in now)
        and all(value >= 0 for value in saved.values() if isinstance(value, int))
        and all(isinstance(loss, float) for loss in losses)
        and all(isinstance(step, dict) and all(isinstance(loss, float) for loss in step.values()) for step in steps)
    )
    if not valid:
        raise UserError(f"{source}: its progress is damaged; {_REMEDY}")
