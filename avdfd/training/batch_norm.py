"""Batch normalisation of a batch that is divided among processes, on any device.

References:
    Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    Peng et al., "MegDet: A Large Mini-Batch Object Detector", CVPR 2018 (statistics across devices).
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules._functions import SyncBatchNorm as _OnGpus
from torch.nn.modules.batchnorm import _BatchNorm


class Portion(NamedTuple):
    """One process's portion of a batch."""

    own: int
    """Samples without padding; they come first."""
    given: int
    """Samples with padding, equally many in every process."""
    total: int
    """Samples in all processes, without padding."""
    size: int
    """Number of processes."""


_portion: ContextVar[Portion | None] = ContextVar("portion", default=None)
_rows: ContextVar[Sequence[int] | None] = ContextVar("rows", default=None)


@contextlib.contextmanager
def dividing(portion: Portion) -> Iterator[None]:
    """Context in which the input of a `WholeBatchNorm` is this portion of a batch; elsewhere it is a whole batch."""
    token = _portion.set(portion)
    try:
        yield
    finally:
        _portion.reset(token)


@contextlib.contextmanager
def with_rows(rows: Sequence[int]) -> Iterator[None]:
    """Context in which each given sample has this many rows; elsewhere all samples have equally many."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


class WholeBatchNorm(_BatchNorm):
    """BatchNorm1d, 2d or 3d with the statistics of a whole divided batch: (N, C, ...) -> (N, C, ...).

    The rows N are the process's samples, or several consecutive rows per sample, equally many unless `with_rows` says
    how many. Padding is normalised and not counted.
    torch's SyncBatchNorm counts all rows and does not run on CPUs; on GPUs without padding its kernels are used.
    """

    def forward(self, input: Tensor) -> Tensor:
        portion = _portion.get()
        if portion is None or not self.training:
            return super().forward(input)
        if input.is_cuda and portion.total == portion.given * portion.size:
            tracked = self.running_mean, self.running_var
            return _OnGpus.apply(
                input, self.weight, self.bias, *tracked, self.eps, self._share(), dist.group.WORLD, portion.size
            )
        return self._normalise(input, portion)

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2

    def _share(self) -> float:
        """Count a batch; return its weight in the running statistics."""
        if self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked += 1
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _normalise(self, x: Tensor, portion: Portion) -> Tensor:
        per_channel, axes = [1, -1, *[1] * (x.ndim - 2)], [0, *range(2, x.ndim)]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        rows = _rows.get()
        if rows is None:
            own = wide[: len(x) // portion.given * portion.own]
            count = x[:, 0].numel() // portion.given * portion.total
        else:
            own = wide[: sum(rows[: portion.own])]
            counts = torch.tensor(own[:, 0].numel(), device=x.device)
            dist.all_reduce(counts)
            count = int(counts)
        assert count > 1, "one value has no variance"
        mean = all_reduce(own.sum(axes)) / count
        variance = all_reduce((own - mean.view(per_channel)).square().sum(axes)) / count
        share = self._share()
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * count / (count - 1), share)
        out = (wide - mean.view(per_channel)) * (variance + self.eps).rsqrt().view(per_channel)
        if self.affine:
            out = out * self.weight.view(per_channel) + self.bias.view(per_channel)
        return out.to(x.dtype)


def convert(model: nn.Module) -> None:
    """Replace every batch norm by a `WholeBatchNorm` with the same parameters, statistics and keys."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                whole = WholeBatchNorm(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                whole.weight, whole.bias = child.weight, child.bias
                whole.running_mean, whole.running_var = child.running_mean, child.running_var
                whole.num_batches_tracked = child.num_batches_tracked
                setattr(module, name, whole.train(child.training))
