"""Channels last: the memory format of images in convolutions, chosen by measurement before the first step.

Each 2D or 3D convolution puts its input in the format, and what follows keeps it. Weights stay as they are, so that
states and checkpoints are the same with and without it.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from avdfd.core.errors import UserError
from avdfd.training.precision import autocast

FORMATS: dict[type[nn.Module], torch.memory_format] = {
    nn.Conv2d: torch.channels_last,
    nn.Conv3d: torch.channels_last_3d,
}
_REPEATS = 3

Measure = Callable[..., float]


class ChannelsLast:
    """The format of a run's convolutions, chosen before its first step.

    wanted: `speed.channels_last`: true, false, or "auto". `log` is called with the choice. `measure` returns the
    seconds of a step. Raises UserError for true if the model has no such convolution.
    """

    def __init__(
        self,
        wanted: bool | str,
        model: nn.Module,
        device: torch.device,
        precision: str,
        log: Callable[[str], object] = lambda line: None,
        measure: Measure | None = None,
    ) -> None:
        self.device, self.precision, self.log = device, precision, log
        self._measure = measure or seconds
        count = len([*convolutions(model)])
        if wanted is True and not count:
            raise UserError("speed.channels_last: this model has no convolutions of images; leave it out")
        self._undecided = wanted == "auto" and count > 0 and device.type == "cuda"
        if wanted is True:
            put_last(model)

    def __call__(self, model: nn.Module, *inputs: Any, call: Callable[..., Any] = nn.Module.__call__) -> None:
        """Decide, once, by training steps `call(model, *inputs)` in both formats."""
        if not self._undecided:
            return
        self._undecided = False
        plain, last = deepcopy(model), deepcopy(model)
        put_last(last)
        times = [self._measure(one, *inputs, call=call, device=self.device, precision=self.precision)
                 for one in (plain, last)]  # fmt: skip
        if times[1] < times[0]:
            put_last(model)
        chosen = "last" if times[1] < times[0] else "first"
        self.log(f"convolutions: channels {chosen}; a step with channels first {1000 * times[0]:.1f} ms, last "
                 f"{1000 * times[1]:.1f} ms")  # fmt: skip


def convolutions(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the 2D and 3D convolutions of a model, but for those that cut patches, where there is nothing to gain."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.kernel_size != module.stride:
            yield module


def put_last(model: nn.Module) -> list[RemovableHandle]:
    """Let every convolution take its input with the channels last."""

    def to_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        wanted = FORMATS[nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Conv3d]
        batched = 4 if isinstance(module, nn.Conv2d) else 5
        return tuple(x.contiguous(memory_format=wanted) if x.dim() == batched else x for x in inputs)

    return [module.register_forward_pre_hook(to_last) for module in convolutions(model)]


def seconds(model: nn.Module, *inputs: Any, call: Callable[..., Any], device: torch.device, precision: str) -> float:
    """Return the shortest of some forward and backward passes. Leaves the generators of random numbers alone."""
    found = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for _ in range(1 + _REPEATS):
            _wait(device)
            started = time.monotonic()
            with autocast(device, precision):
                out = call(model, *inputs)
            total = sum((x.float().mean() for x in _tensors(out) if x.requires_grad), torch.zeros((), device=device))
            total.backward()
            _wait(device)
            found.append(time.monotonic() - started)
            model.zero_grad()
    return min(found[1:])


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
