"""Start of loader processes, and the memory in which they hand over batches.

Torch hands tensors over in /dev/shm, of which a container has 64 MB by default. A batch that does not fit there is
lost, and training waits for it for ever. Anonymous shared memory (`memfd_create`) has no such limit.
"""

import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from avdfd.core import fields
from avdfd.core.errors import WorkError


def hand_over(batch: Any) -> Any:
    """Return a NamedTuple of tensors, or None; in a loader process, copied to anonymous shared memory."""
    return batch if batch is None or get_worker_info() is None else fields.map_tensors(batch, _shared)


def _shared(tensor: Tensor) -> Tensor:
    """Copy a tensor to shared memory, where torch finds it when it sends the tensor to another process."""
    if not tensor.nbytes:
        return tensor
    file = os.memfd_create("batch")
    try:
        os.ftruncate(file, tensor.nbytes)
        # As torch opens what it receives.
        storage: Any = torch.UntypedStorage._new_shared_fd_cpu(file, tensor.nbytes)  # type: ignore[attr-defined]
    finally:
        os.close(file)
    shared = torch.empty(0, dtype=tensor.dtype)
    shared.set_(storage, 0, tensor.shape)  # type: ignore[call-overload]
    return shared.copy_(tensor)


def start(loader: DataLoader[Any]) -> Iterator[Any]:
    """Return a new iterator of a loader. Raises WorkError if its processes cannot start."""
    try:
        if loader.num_workers:
            multiprocessing.Lock()  # fails as the loader's own would, which then prints a traceback when it is deleted
        return iter(loader)
    except OSError as error:
        raise WorkError(
            f"loader processes cannot start ({error.strerror}; their locks are in /dev/shm): free some of it, allow "
            "more processes (ulimit -u), or set data.workers (--workers) to 0"
        ) from None
