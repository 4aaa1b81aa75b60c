"""Learning-rate schedules and parameter groups."""

import numpy as np
import pytest
import torch
from torch import nn

from avdfd.config import OptimConfig, RecipeConfig
from avdfd.training.optim import adamw, recipe_factor, recipe_optimizer, set_epoch_lr, set_recipe_lr, warmup_cosine
from tests import reference


def test_schedule_equals_the_released_one():
    config = OptimConfig(lr=1e-4, epochs=20, warmup_epochs=5, min_lr_ratio=0.02)
    lrs = [config.lr * warmup_cosine(epoch, config) for epoch in range(20)]
    np.testing.assert_allclose(lrs, reference.values("avdfd")["lr"], rtol=1e-6)


def test_groups_are_scaled_and_frozen_parameters_left_out():
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


def test_halving_counts_epochs():
    recipe = RecipeConfig(schedule="halving", halve_from=10, halve_every=5)
    factors = [recipe_factor(recipe, [1.0] * epoch) for epoch in range(21)]
    assert factors == [1.0] * 10 + [0.5] * 5 + [0.25] * 5 + [0.125]


def test_halving_equals_the_released_schedule():
    """OpenAVFF's milestones for 10, 5 and 0.5 with its MultiStepLR."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    released = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(range(10, 1000, 5)), gamma=0.5)
    recipe = RecipeConfig(schedule="halving", halve_from=10, halve_every=5)
    for epoch in range(30):
        assert recipe_factor(recipe, [1.0] * epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        released.step()


def test_linear_equals_the_released_schedule_of_vfd():
    recipe = RecipeConfig(schedule="linear", hold=2, epochs=22)
    factors = [recipe_factor(recipe, [1.0] * epoch) for epoch in range(22)]
    assert factors == pytest.approx([1 - max(0, epoch - 1) / 21 for epoch in range(22)])


def test_cosine_follows_the_warm_up():
    recipe = RecipeConfig(schedule="cosine", warmup_epochs=2, epochs=10)
    factors = [recipe_factor(recipe, [1.0] * epoch) for epoch in range(10)]
    assert factors[:4] == pytest.approx([0.5, 1.0, 1.0, 0.5 * (1 + np.cos(np.pi / 8))])
    assert 0 < factors[-1] < 0.1


@pytest.mark.parametrize(("seed", "factor"), [(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.3), (4, 0.3)])
def test_plateau_equals_torchs(seed, factor):
    losses = np.random.default_rng(seed).uniform(0.9, 1.0, 40).tolist()
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=3)
    recipe = RecipeConfig(schedule="plateau", plateau=3, plateau_factor=factor)
    for epoch, loss in enumerate(losses, start=1):
        torchs.step(loss)
        assert recipe_factor(recipe, losses[:epoch]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_optimisers_of_recipes():
    old, new = nn.Linear(2, 2), nn.Linear(2, 1)
    recipe = RecipeConfig(lr=1e-5, betas=[0.95, 0.999], weight_decay=5e-7, schedule="halving", halve_from=1)
    optimizer = recipe_optimizer([(old.parameters(), 1.0), (new.parameters(), 50.0)], recipe)
    assert type(optimizer) is torch.optim.Adam
    assert [g["betas"] for g in optimizer.param_groups] == [(0.95, 0.999)] * 2
    assert set_recipe_lr(optimizer, [], recipe) == pytest.approx(1e-5)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-5, 5e-4])
    assert set_recipe_lr(optimizer, [0.3], recipe) == pytest.approx(5e-6)
    sgd = recipe_optimizer([(new.parameters(), 1.0)], RecipeConfig(optimizer="sgd", lr=0.1))
    assert (type(sgd), sgd.param_groups[0]["momentum"]) == (torch.optim.SGD, 0.9)


def test_linear_holds_for_fewer_epochs_than_it_should():
    recipe = RecipeConfig(schedule="linear", hold=2, epochs=1)
    assert recipe_factor(recipe, []) == 1
