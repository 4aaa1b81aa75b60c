"""Measured speed of an epoch."""

import time

import pytest
import torch

from avdfd.training.distributed import World
from avdfd.training.meter import SPEED, Meter


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_rates_of_an_epoch(clock):
    meter = Meter(World(torch.device("cpu"), rank=1, size=2), "bf16")

    def slow():
        for batch in "abc":
            clock(1.0)
            yield batch

    for _ in meter.watch(slow()):
        clock(3.0)
        meter.count(8, flops=5e12)
    values = meter.values()
    assert set(values) <= set(SPEED)
    assert values["seconds"] == 12
    assert values["clips_per_second"] == 24 / 12
    assert values["tflops"] == 5.0, "of each of two processes"
    assert values["data_wait"] == 3 / 12
    assert "mfu" not in values, "a CPU has no data sheet here"


def test_mfu_is_the_fraction_of_the_peak(clock, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5e9)
    for name, expected in (("NVIDIA A100-SXM4-80GB", 0.5), ("NVIDIA Something", None)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        meter = Meter(World(torch.device("cuda", 0)), "bf16")
        clock(2.0)
        meter.count(312, flops=1e12)
        values = meter.values()
        assert (values["tflops"], values.get("mfu"), values["memory_gb"]) == (156.0, expected, 5.0)
