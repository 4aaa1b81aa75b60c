"""Faults of the machine are one line with a remedy and exit code 1, whether met here or in a loader process."""

import errno
import os
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from avdfd.core.errors import run_script
from avdfd.core.faults import fault_of

HUGE = 1 << 50


class Made(Dataset):
    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 2

    def __getitem__(self, _):
        return self.make()


def load(make, workers):
    list(DataLoader(Made(make), num_workers=workers))


def said(work, capsys):
    with pytest.raises(SystemExit) as end:
        run_script(lambda _: work())
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return end.value.code, error


@pytest.mark.parametrize(
    ("make", "workers"), [(lambda: torch.empty(HUGE), 0), (lambda: np.empty(HUGE), 0), (lambda: np.empty(HUGE), 1)]
)
def test_out_of_memory(make, workers, capsys):
    code, line = said(lambda: load(make, workers), capsys)
    assert code == 1
    assert line.startswith("error: out of memory: ")
    assert "llocate" in line
    assert line.endswith("; set data.workers (--workers) to fewer, data.home to disk, or take smaller batches\n")


def test_out_of_memory_without_words(capsys):
    code, line = said(lambda: bytearray(1 << 62), capsys)
    assert (code, line[:51]) == (1, "error: out of memory: the machine has no more; set ")


def test_out_of_memory_on_a_gpu():
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1 MiB is free"
    )
    line = fault_of(error)
    assert line is not None
    assert line.startswith("out of memory: CUDA out of memory. Tried to allocate 2.00 GiB; take smaller batches (micro")


@pytest.mark.parametrize("end", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_loader_process_that_ends(end, capsys):
    code, line = said(lambda: load(end, 1), capsys)
    assert code == 1
    assert line.startswith("error: a loader process (")
    assert "set data.workers (--workers) to fewer, and run the same command again" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_failing_disk_is_named(number, capsys):
    def work():
        raise OSError(number, os.strerror(number), "runs/x/log.txt")

    code, line = said(work, capsys)
    assert code == 1
    assert line.startswith(f"error: runs/x/log.txt: {os.strerror(number)}; ")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no such file"), ValueError()])
def test_other_errors_keep_their_traceback(error):
    def work():
        raise error

    assert fault_of(error) is None
    with pytest.raises(type(error)):
        run_script(lambda _: work())
