"""What an epoch's line says of speed and memory."""

import resource
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from avdfd.training import flops
from avdfd.training.distributed import World

T = TypeVar("T")

SPEED = ("seconds", "clips_per_second", "tflops", "mfu", "data_wait", "memory_gb")
"""What `Meter.values` may have: nothing of it is the same twice."""


class Meter:
    """Times a training epoch: clips and operations a second, and which part of the time was spent waiting for data."""

    def __init__(self, world: World, precision: str) -> None:
        self._world, self._precision = world, precision
        self._waited = self._clips = self._flops = 0.0
        self._started = time.monotonic()

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each of them is there is waiting."""
        rest = iter(batches)
        while True:
            before = time.monotonic()
            batch = next(rest, None)
            self._waited += time.monotonic() - before
            if batch is None:
                return
            yield batch

    def count(self, clips: int, flops: float) -> None:
        """Adds clips, of all processes, that have been trained on, with the operations that each of them takes."""
        self._clips += clips
        self._flops += clips * flops

    def values(self) -> dict[str, float]:
        """What the epoch has been like.

        seconds of training; clips_per_second of all processes; tflops, 1e12 operations a second of each of them; mfu,
        what part that is of what its GPU can do in this precision, if there is a data sheet for it (Chowdhery et al.,
        "PaLM", 2022, appendix B); data_wait, 0 to 1; memory_gb of this GPU, or of this process where there is none.
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
