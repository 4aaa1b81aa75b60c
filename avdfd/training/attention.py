"""Choice of the back end of fused attention on a GPU: measured once per shape, the fastest first.

    cudnn       on GPUs of compute capability 9.0 and above; torch does not choose it there by itself
    flash       FlashAttention-2
    efficient   memory-efficient attention, which also takes masks
    math        three steps with the whole (N, N) matrix: the last resort

A back end that cannot run a call (masks, width of heads, precision) is passed over for the next.

References:
    Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", ICLR 2024.
    Rabe and Staats, "Self-attention Does Not Need O(n^2) Memory", arXiv 2112.05682, 2021.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from avdfd.core.errors import UserError
from avdfd.training.flops import shape_of, without_values

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""Back ends by name, in the order of preference."""
_CUDNN_FROM = (9, 0)  # compute capability
_REPEATS = 5


class Call(NamedTuple):
    """Shapes of a call of attention."""

    query: tuple[int, ...]
    """(B, H, N, D)"""
    key: tuple[int, ...]
    """(B, H, M, D)"""
    masked: bool
    dropout: float
    precision: str

    @property
    def work(self) -> int:
        """Products of a query with a key."""
        return math.prod(self.query) * self.key[-2]

    def __str__(self) -> str:
        batch, heads, queries, width = self.query
        extra = f"{', masked' * self.masked}{f', dropout {self.dropout:g}' * bool(self.dropout)}"
        return f"{batch} x {heads} heads, {queries} x {self.key[-2]} tokens of {width}, {self.precision}{extra}"


Measure = Callable[[Call, str, torch.device], float | None]
MEASURED: dict[tuple[str, Call], dict[str, float]] = {}
"""Milliseconds by card and call, of this process."""


class Attention:
    """The order of the back ends of a run, chosen before its first step; on a CPU there is nothing to choose.

    wanted: `speed.attention`: a back end to come first, or "auto". `log` is called with the choice. `measure` returns
    the milliseconds of a back end, or None if it cannot run the call. The first call raises UserError if a back end is
    wanted and the model has no fused attention.
    """

    def __init__(
        self,
        wanted: str,
        device: torch.device,
        precision: str,
        log: Callable[[str], object] = lambda line: None,
        measure: Measure | None = None,
    ) -> None:
        self.wanted, self.device, self.precision, self.log = wanted, device, precision, log
        self._measure = measure or milliseconds
        self._order: list[SDPBackend] = []

    def __call__(
        self, model: nn.Module, *inputs: Any, call: Callable[..., Any] = nn.Module.__call__
    ) -> AbstractContextManager[Any]:
        """Return the context for `call(model, *inputs)`; the first one decides for all."""
        if self.device.type != "cuda":
            return nullcontext()
        if not self._order:
            names = self._choose(calls_of(model, *inputs, call=call, precision=self.precision))
            self._order = [BACKENDS[name] for name in names]
        return sdpa_kernel(self._order, set_priority=True)

    def _choose(self, calls: "Counter[Call]") -> list[str]:
        names = [*BACKENDS]
        if torch.cuda.get_device_capability(self.device) < _CUDNN_FROM:
            names.remove("cudnn")
        if not calls:
            if self.wanted != "auto":
                raise UserError("speed.attention: this model has no fused attention; leave it out")
            return names
        if self.wanted != "auto":
            self.log(f"attention: {self.wanted} first, as speed.attention says")
            return [self.wanted, *(name for name in names if name != self.wanted)]
        # The call that takes most of the time decides: one order holds for the whole model.
        most = max(calls, key=lambda call: call.work * calls[call])
        found = self._times(most, [name for name in names if name != "math"])
        order = sorted(names, key=lambda name: (found.get(name, math.inf), names.index(name)))
        times = ", ".join(f"{name} {time:.3f} ms" for name, time in found.items()) or "no fused back end runs it"
        self.log(f"attention: {order[0]} first; {calls[most]} calls of {most}: {times}")
        return order

    def _times(self, call: Call, names: list[str]) -> dict[str, float]:
        key = torch.cuda.get_device_name(self.device), call
        if key not in MEASURED:
            times = {name: self._measure(call, name, self.device) for name in names}
            MEASURED[key] = {name: time for name, time in times.items() if time is not None}
        return MEASURED[key]


@torch.no_grad()
def calls_of(
    model: nn.Module, *inputs: Any, call: Callable[..., Any] = nn.Module.__call__, precision: str
) -> "Counter[Call]":
    """Count the calls of attention in `call(model, *inputs)`, by their shapes, on a copy on the meta device."""
    with _recorded(precision) as calls:
        call(without_values(model), *(shape_of(x) for x in inputs))
    return calls


@contextmanager
def _recorded(precision: str) -> Iterator["Counter[Call]"]:
    calls: Counter[Call] = Counter()
    attend = F.scaled_dot_product_attention

    def record(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **more: Any,
    ) -> Tensor:
        q, k = ((math.prod(x.shape[:-3]), *x.shape[-3:]) for x in (query, key))
        calls[Call(q, k, masked=attn_mask is not None, dropout=dropout_p, precision=precision)] += 1
        return attend(query, key, value, attn_mask, dropout_p, is_causal, **more)

    setattr(F, attend.__name__, record)
    try:
        yield calls
    finally:
        setattr(F, attend.__name__, attend)


def milliseconds(call: Call, name: str, device: torch.device) -> float | None:
    """Return the shortest of some forward and backward passes of a back end on a GPU; None if it cannot run them.

    Leaves the generators of random numbers alone.
    """
    kind = torch.bfloat16 if call.precision == "bf16" else torch.float32
    draw = torch.Generator(device).manual_seed(0)

    def made(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=draw, device=device, dtype=kind).requires_grad_()

    q, k, v = made(call.query), made(call.key), made(call.key)
    mask = torch.zeros((call.query[-2], call.key[-2]), device=device, dtype=kind) if call.masked else None
    times = []
    with sdpa_kernel(BACKENDS[name]), torch.random.fork_rng([device]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says why a back end cannot run
        for _ in range(2 + _REPEATS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            try:
                F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=call.dropout).sum().backward()
            except RuntimeError:  # no kernel of this back end, or too little memory for it
                return None
            end.record()
            torch.cuda.synchronize(device)
            times.append(start.elapsed_time(end))
    return min(times[2:])
