"""Devices, and the state of a run."""

import pytest
import torch

from avdfd.core.errors import UserError
from avdfd.training import distributed
from avdfd.training.distributed import pick_device
from avdfd.training.state import Progress


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no usable GPU"):
        pick_device("cuda")
    assert pick_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("name", "kept"), [("cpu", 1), ("cuda", 0)])
def test_free_memory_is_kept_for_a_cpu(monkeypatch, name, kept):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda")
    monkeypatch.setattr(distributed, "keep_all_free_memory", lambda: calls.append(1))
    assert pick_device("auto") == torch.device(name)
    assert len(calls) == kept


def test_progress_counts_from_the_best():
    progress = Progress()
    assert [progress.update(v) for v in (0.5, 0.7, 0.6, 0.7, 0.8)] == [True, True, False, False, True]
    assert (progress.epoch, progress.best, progress.stale) == (5, 0.8, 0)


def test_early_epochs_are_neither_best_nor_stale():
    progress = Progress()
    assert [progress.update(v, first=3) for v in (0.9, 0.8, 0.5, 0.4, 0.6)] == [False, False, True, False, True]
    assert (progress.epoch, progress.best, progress.stale) == (5, 0.6, 0)
