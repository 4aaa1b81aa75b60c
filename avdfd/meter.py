"""What an epoch's line says of speed and memory."""

import resource
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


class Meter:
    """Times a training epoch: how many clips a second, and which part of the time was spent waiting for data."""

    def __init__(self) -> None:
        self._waited = self._clips = 0.0
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

    def count(self, clips: int) -> None:
        """Adds clips that have been trained on."""
        self._clips += clips

    def values(self, device: torch.device) -> dict[str, float]:
        """clips_per_second, data_wait (0 to 1) and memory_gb: of the GPU, or of this process where there is none."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            memory = torch.cuda.max_memory_allocated(device) / 1e9
        else:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        seconds = time.monotonic() - self._started
        return {
            "clips_per_second": self._clips / seconds,
            "data_wait": self._waited / seconds,
            "memory_gb": memory,
        }
