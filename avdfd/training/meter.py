"""Speed and memory of a training epoch."""

import resource
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from avdfd.training import flops
from avdfd.training.distributed import World

T = TypeVar("T")

SPEED = ("seconds", "clips_per_second", "tflops", "mfu", "data_wait", "memory_gb")
"""Keys of `Meter.values`, which differ between equal runs."""


class Meter:
    """Measures a training epoch: clips and operations per second, and the fraction of time spent waiting for data."""

    def __init__(self, world: World, precision: str) -> None:
        self._world, self._precision = world, precision
        self._waited = self._clips = self._flops = 0.0
        self._started = time.monotonic()

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the same batches, and count the time until each arrives as waiting."""
        rest = iter(batches)
        while True:
            before = time.monotonic()
            batch = next(rest, None)
            self._waited += time.monotonic() - before
            if batch is None:
                return
            yield batch

    def count(self, clips: int, flops: float) -> None:
        """Count trained clips of all processes, and the operations per clip."""
        self._clips += clips
        self._flops += clips * flops

    def values(self) -> dict[str, float]:
        """Return the epoch's measurements.

        seconds of training; clips_per_second of all processes; tflops, 1e12 operations per second and process; mfu, the
        fraction of the GPU's peak in this precision, if its data sheet is known (Chowdhery et al., "PaLM", 2022,
        appendix B); data_wait, 0 to 1; memory_gb, peak of this GPU, or of this process without one.
        """
        device = self._world.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.monotonic() - self._started
        rate = self._flops / seconds / self._world.size
        values = {"seconds": seconds, "clips_per_second": self._clips / seconds, "tflops": rate / 1e12}
        if device.type == "cuda":
            peak = flops.peak(torch.cuda.get_device_name(device), self._precision)
            values |= {"mfu": rate / peak} if peak else {}
            memory = torch.cuda.max_memory_allocated(device) / 1e9
        else:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return {**values, "data_wait": self._waited / seconds, "memory_gb": memory}
