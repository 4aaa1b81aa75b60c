"""Batch norms of a divided batch: three processes against torch's layer on the whole batch."""

import os
import subprocess
import sys

import torch
from torch import nn

from avdfd.training import batch_norm
from avdfd.training.batch_norm import Portion, WholeBatchNorm, dividing
from tests.paths import ROOT

# What is expected of a process: its rows of the outputs and input gradients, and all of the rest.
PROCESS = """
import torch
from torch import nn
from avdfd.training import batch_norm, distributed

torch.manual_seed(0)
with distributed.join("cpu") as world:
    for total, rows, layer in ((1, 4, nn.BatchNorm2d), (2, 1, nn.BatchNorm3d), (5, 1, nn.BatchNorm1d),
                               (6, 2, nn.BatchNorm2d), (7, 3, nn.BatchNorm2d)):
        shape = [total * rows, 3, *{nn.BatchNorm1d: [], nn.BatchNorm2d: [4, 2], nn.BatchNorm3d: [2, 3, 2]}[layer]]
        whole = (5 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
        weights = torch.randn(shape, dtype=torch.float64)
        plain, divided = (nn.Sequential(layer(3)).double() for _ in range(2))
        batch_norm.convert(divided)
        divided.load_state_dict(plain.state_dict())
        expected = plain(whole)
        (expected.square() * weights).sum().backward()

        mine = list(range(world.rank, total, world.size))
        given = -(-total // world.size)
        by_sample = whole.detach().unflatten(0, (total, rows))
        filled = torch.cat([by_sample[mine], torch.full_like(by_sample[:1], 99.0)])
        share = filled[:given].flatten(0, 1).requires_grad_()
        with distributed.dividing(world, total):
            out = divided(share)
        own = len(mine) * rows
        (out[:own].square() * weights.unflatten(0, (total, rows))[mine].flatten(0, 1)).sum().backward()
        torch.testing.assert_close(out[:own], expected.unflatten(0, (total, rows))[mine].flatten(0, 1))
        torch.testing.assert_close(share.grad[:own], whole.grad.unflatten(0, (total, rows))[mine].flatten(0, 1))
        assert not share.grad[own:].any()
        for ours, theirs in zip(divided.parameters(), plain.parameters(), strict=True):
            torch.distributed.all_reduce(ours.grad)
            torch.testing.assert_close(ours.grad, theirs.grad)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(divided.state_dict()[name], value)

    # Samples of unequal numbers of rows, as those of clips of unequal length; the third process has padding alone.
    lengths = [3, 5]
    samples = [5 + 2 * torch.randn(rows, 3, dtype=torch.float64) for rows in lengths]
    plain, divided = (nn.Sequential(nn.BatchNorm1d(3)).double() for _ in range(2))
    batch_norm.convert(divided)
    expected = plain(torch.cat(samples)).split(lengths)
    mine = world.rank if world.rank < 2 else 0
    with distributed.dividing(world, 2), batch_norm.with_rows([lengths[mine]]):
        out = divided(samples[mine])
    torch.testing.assert_close(out, expected[mine])
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(divided.state_dict()[name], value)
"""


def test_three_processes_normalise_as_one(tmp_path):
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", str(script)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, text=True, capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]


def model():
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.Sequential(nn.BatchNorm2d(3, momentum=0.3)), nn.InstanceNorm2d(3))


def test_conversion_keeps_keys_parameters_and_mode():
    before, after = model(), model().eval()
    parameters = list(after.parameters())
    batch_norm.convert(after)
    assert list(after.state_dict()) == list(before.state_dict())
    assert all(ours is theirs for ours, theirs in zip(after.parameters(), parameters, strict=True))
    layer = after[1][0]
    assert isinstance(layer, WholeBatchNorm)
    assert not layer.training
    assert layer.momentum == 0.3
    assert isinstance(after[2], nn.InstanceNorm2d)


def test_whole_batch_is_normalised_as_by_torch():
    plain, converted = model(), model()
    batch_norm.convert(converted)
    converted.load_state_dict(plain.state_dict())
    x = torch.randn(4, 1, 5, 5)
    assert torch.equal(converted(x), plain(x))
    with dividing(Portion(own=2, given=2, total=4, size=2)):  # in eval mode, nobody is asked
        assert torch.equal(converted.eval()(x), plain.eval()(x))
    assert all(torch.equal(a, b) for a, b in zip(converted.buffers(), plain.buffers(), strict=True))
