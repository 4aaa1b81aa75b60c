"""Rows in memory, and the choice of where to keep them."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.datasets import residency
from avdfd.datasets.residency import Resident, choose, size_of

CPU = torch.device("cpu")
GB = 10**9


class Rows(NamedTuple):
    numbers: Tensor
    frames: Tensor | None
    label: Tensor


def tensors(count=7):
    return Rows(torch.arange(count, dtype=torch.int16), None, torch.arange(3.0 * count).view(count, 3))


def test_rows_come_in_the_requested_order():
    rows = Resident(tensors(), CPU).take([5, 0, 5])
    assert isinstance(rows, Rows)
    assert rows.numbers.tolist() == [5, 0, 5]
    assert rows.frames is None
    assert rows.label.tolist() == [[15, 16, 17], [0, 1, 2], [15, 16, 17]]
    assert Resident(tensors(), CPU).take(torch.tensor([2])).numbers.tolist() == [2]


def test_rows_of_a_memory_mapped_file(tmp_path):
    path = tmp_path / "features"
    path.write_bytes(torch.arange(12, dtype=torch.float16).numpy().tobytes())
    mapped = torch.from_file(str(path), shared=False, size=12, dtype=torch.float16).view(4, 3)
    assert Resident(tensors(4)._replace(label=mapped), CPU).take([3, 1]).label.tolist() == [[9, 10, 11], [3, 4, 5]]


def test_rows_are_stored_at_their_positions():
    whole = tensors()
    row = Rows(*(None if x is None else x[0] for x in whole))
    room = Resident.empty(row, 7, "memory", CPU)
    for positions in ([6, 2, 0], [1, 3, 4, 5]):
        room.put(positions, Resident(whole, CPU).take(positions))
    for ours, theirs in zip(room.tensors, whole, strict=True):
        assert ours is theirs is None or (torch.equal(ours, theirs) and ours.dtype == theirs.dtype)


def test_size_counts_the_bytes_of_all_tensors():
    assert size_of(tensors(1)) == 2 + 12


@pytest.fixture
def machine(monkeypatch):
    """A machine with 10 GB of memory, and a GPU with 4 GB."""
    monkeypatch.setattr(residency, "available_memory", lambda: 10 * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * GB, 8 * GB))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("size", "device", "processes", "place"),
    [
        (2, "cuda", 1, "gpu"),
        (3, "cuda", 1, "memory"),
        (3, "cuda", 2, "disk"),
        (1, "cuda", 2, "gpu"),
        (5, "cpu", 1, "memory"),
        (6, "cpu", 1, "disk"),
    ],
)
def test_auto_chooses_the_place_by_size(machine, size, device, processes, place):
    machine.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert choose("auto", size * GB, torch.device(device)) == place
    assert choose("disk", size * GB, torch.device(device)) == "disk"


def test_wanted_place_is_used_if_the_data_fit(machine):
    assert choose("memory", 9 * GB, CPU) == "memory"
    assert choose("gpu", 3 * GB, torch.device("cuda")) == "gpu"
    with pytest.raises(UserError, match="data.home 'gpu': this run uses the cpu"):
        choose("gpu", GB, CPU)
    with pytest.raises(UserError, match=r"data.home 'memory': the data take 11.0 GB there, .* can use 10.0 GB"):
        choose("memory", 11 * GB, CPU)
    with pytest.raises(UserError, match=r"data.home 'gpu': the data take 5.0 GB there, .* can use 4.0 GB"):
        choose("gpu", 5 * GB, torch.device("cuda"))
