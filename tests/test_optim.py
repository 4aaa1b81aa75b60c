"""Schedule and parameter groups."""

import numpy as np
import pytest
import torch
from torch import nn

from avdfd.config import OptimConfig
from avdfd.optim import adamw, set_epoch_lr, warmup_cosine
from tests import reference


def test_schedule_equals_the_released_one():
    config = OptimConfig(lr=1e-4, epochs=20, warmup_epochs=5, min_lr_ratio=0.02)
    lrs = [config.lr * warmup_cosine(epoch, config) for epoch in range(20)]
    np.testing.assert_allclose(lrs, reference.values("avdfd")["lr"], rtol=1e-6)


def test_groups_are_scaled_and_frozen_ones_left_out():
    config = OptimConfig(lr=1e-3, epochs=10, warmup_epochs=2)
    body, top, frozen = nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(2, 2).requires_grad_(False)
    optimizer = adamw([(body.parameters(), 0.1), (top.parameters(), 1.0), (frozen.parameters(), 1.0)], config)
    assert [len(g["params"]) for g in optimizer.param_groups] == [2, 2]
    lr = set_epoch_lr(optimizer, 0, config)
    assert lr == pytest.approx(5e-4)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([5e-5, 5e-4])
    assert all(g["weight_decay"] == 0.01 for g in optimizer.param_groups)


def test_scale_zero_freezes():
    optimizer = adamw([(nn.Linear(2, 2).parameters(), 0.0), ([nn.Parameter(torch.ones(1))], 1.0)], OptimConfig())
    assert len(optimizer.param_groups) == 1
