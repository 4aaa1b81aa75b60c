"""Floating-point operations of training, counted on the model itself, and the peak rates of GPUs.

A multiplication and an addition are two operations. Matrix products, convolutions and attention are counted; everything
else is less than a percent of them.
"""

import copy
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from OpenAVFF.stack import Stack

_PEAKS: dict[str, dict[str, float]] = {
    r"H[12]00 NVL": {"bf16": 835.5, "tf32": 417.5, "fp32": 60.0},
    r"H100 PCIe": {"bf16": 756.5, "tf32": 378.0, "fp32": 51.0},
    r"G?H[12]00": {"bf16": 989.5, "tf32": 494.5, "fp32": 67.0},
    r"A100": {"bf16": 312.0, "tf32": 156.0, "fp32": 19.5},
    r"V100-PCIE": {"fp32": 14.0},
    r"V100-SXM2": {"fp32": 15.7},
    r"L40S": {"bf16": 362.05, "tf32": 183.0, "fp32": 91.6},
    r"A40": {"bf16": 149.7, "tf32": 74.8, "fp32": 37.4},
    r"RTX A6000$": {"bf16": 154.8, "tf32": 77.4, "fp32": 38.7},
    r"RTX 3090$": {"bf16": 71.0, "tf32": 35.6, "fp32": 35.6},
    r"RTX 4090$": {"bf16": 165.2, "tf32": 82.6, "fp32": 82.6},
}
"""Pattern in a device's name -> dense 1e12 operations per second, accumulated in fp32. The first match counts.

References:
    NVIDIA's data sheets, figures with sparsity halved; for the last three the white papers of the architectures GA102
    and Ada.
"""


def peak(device_name: str, precision: str) -> float | None:
    """Return a GPU's peak operations per second by its data sheet; None if unknown, and for MIG slices."""
    if "MIG" in device_name:
        return None
    for words, rates in _PEAKS.items():
        if re.search(rf"\b{words}(?!\w)", device_name):
            return 1e12 * rates[precision] if precision in rates else None
    return None


def training_flops(model: nn.Module, *inputs: Any, call: Callable[..., Any] = nn.Module.__call__) -> float:
    """Count the operations per clip of `call(model, *inputs)` and of its backward pass, without frozen parameters.

    inputs: tensors (B, ...) and tuples of them. Counting runs on a copy on the meta device, so neither the model nor
    random generators change. Recomputation by checkpointing does not count.
    """
    shapes = [shape_of(x) for x in inputs]
    net = without_values(model)
    clips = len(next(_tensors(inputs)))
    with _Counter() as counter:
        results = [x for x in _tensors(call(net, *shapes)) if x.requires_grad]
        if results:  # none if all parameters are frozen
            torch.stack([x.float().sum() for x in results]).sum().backward()
    return counter.total / clips


class _Counter(TorchDispatchMode):
    """Sums operations by torch's formulas. FlopCounterMode also tracks modules, which fails for second derivatives."""

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # here, as it imports Triton, and a run counts once

        self.total, self._formulas = 0, flop_registry

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        if op._overloadpacket in self._formulas:
            self.total += self._formulas[op._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def without_values(model: nn.Module) -> nn.Module:
    """Copy a model with its tensors on the meta device."""
    shapes: dict[int, Any] = {id(x): shape_of(x) for x in chain(model.parameters(), model.buffers())}
    net = copy.deepcopy(model, shapes)
    for module in net.modules():
        if isinstance(module, Stack):
            module.checkpointing = False
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # in training mode, processes would communicate
    return net


def shape_of(x: Any) -> Any:
    """Return a tensor, or the tensors of a tuple, without values: on the meta device."""
    if isinstance(x, nn.Parameter):
        return nn.Parameter(x.detach().to("meta"), requires_grad=x.requires_grad)
    if isinstance(x, Tensor):
        # Half-precision inputs would meet float32 weights, as there is no autocast here.
        return x.detach().to("meta", torch.float32 if x.is_floating_point() else x.dtype)
    if isinstance(x, tuple):
        shapes = [shape_of(item) for item in x]
        return type(x)(*shapes) if hasattr(x, "_fields") else tuple(shapes)
    return x


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple):
        for item in x:
            yield from _tensors(item)
