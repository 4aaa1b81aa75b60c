"""Batches arrive from loader processes however little /dev/shm there is, and processes that cannot start say why."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avdfd.core.errors import WorkError
from avdfd.datasets.hand_over import hand_over, start
from tests.helpers.small_disk import run_on_small_disk

MB = 1 << 20


class Inner(NamedTuple):
    numbers: Tensor


class Batch(NamedTuple):
    frames: Tensor
    inner: Inner
    none: None
    empty: Tensor


class Made(Dataset):
    """Batches of 4 MB each."""

    def __len__(self):
        return 6

    def __getitems__(self, positions):
        (number,) = positions
        frames = torch.full((4 * MB,), number, dtype=torch.uint8)
        numbers = torch.arange(6.0).reshape(2, 3).T * number  # not contiguous
        return Batch(frames, Inner(numbers), None, torch.empty(0, 3))


def received(workers: int) -> list[tuple[int, list[list[float]], tuple[int, ...]]]:
    batches = [*start(DataLoader(Made(), batch_size=1, num_workers=workers, collate_fn=hand_over))]
    assert all(batch.frames.unique().numel() == 1 and batch.none is None for batch in batches)
    return [(int(b.frames[0]), b.inner.numbers.tolist(), tuple(b.empty.shape)) for b in batches]


def test_batches_arrive_unchanged():
    expected = [(n, [[0.0, 3.0 * n], [n, 4.0 * n], [2.0 * n, 5.0 * n]], (0, 3)) for n in range(6)]
    assert received(0) == received(2) == expected


@pytest.mark.parametrize("size", ["64m", "1m"])
def test_batches_do_not_need_dev_shm(size):
    """64 MB is what a container has. With 1 MB, torch's own way loses the first batch and waits for it for ever."""
    assert len(run_on_small_disk("/dev/shm", size, received, 2)) == 6


def received_without_room() -> None:
    with Path("/dev/shm/full").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_bsize)
    received(2)


def test_full_dev_shm_is_named():
    with pytest.raises(WorkError, match=r"cannot start \(No space left on device; their locks are in /dev/shm\)"):
        run_on_small_disk("/dev/shm", "1m", received_without_room)
