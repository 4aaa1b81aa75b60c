"""Forged training states are refused before anything is loaded."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from avdfd.core.errors import UserError
from avdfd.training.saved_state import check_generators, check_optimizer, check_progress
from avdfd.training.state import Progress


def trained(kind=AdamW, **settings):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    groups = [{"params": [*layer.parameters()], "lr": 1e-3, "scale": 1.0} for layer in model]
    optimizer = kind(groups, **settings)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return optimizer


OPTIMIZERS = {
    "adamw": trained(AdamW, fused=True),
    "sgd": trained(SGD, lr=1e-3, momentum=0.9),
    "sgd without momentum": trained(SGD, lr=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_own_state_is_accepted(name):
    saved = copy.deepcopy(OPTIMIZERS[name].state_dict())
    saved["param_groups"][0]["lr"] = 0.5
    check_optimizer(OPTIMIZERS[name], saved, "run")
    check_optimizer(OPTIMIZERS[name], {**saved, "state": {}}, "run")


FORGED = {
    "short": ("exp_avg", torch.zeros(1)),
    "long": ("exp_avg", torch.zeros(3, 5)),
    "one stored value": ("exp_avg_sq", torch.zeros(1, 1).expand(3, 4)),
    "transposed": ("exp_avg", torch.zeros(4, 3).T),
    "type": ("exp_avg", torch.zeros(3, 4, dtype=torch.float64)),
    "sparse": ("exp_avg", torch.zeros(3, 4).to_sparse()),
    "meta": ("exp_avg", torch.zeros(3, 4, device="meta")),
    "not a tensor": ("exp_avg", [0.0] * 12),
    "NaN": ("exp_avg", torch.full((3, 4), math.nan)),
    "infinity": ("exp_avg_sq", torch.full((3, 4), math.inf)),
    "long step": ("step", torch.zeros(2)),
    "step as an integer": ("step", torch.tensor(3)),
    "step as a number": ("step", 3.0),
}


@pytest.mark.parametrize("forged", FORGED)
def test_forged_tensors_of_the_optimiser(forged):
    optimizer = OPTIMIZERS["adamw"]
    name, value = FORGED[forged]
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0][name] = value
    with pytest.raises(UserError, match=f"run: the optimiser's {name} of parameter 0 "):
        check_optimizer(optimizer, saved, "run")


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["state"][0].pop("exp_avg"),
        lambda saved: saved["state"][0].update(more=torch.zeros(3)),
        lambda saved: saved["state"].update({9: saved["state"][0]}),
        lambda saved: saved["state"].update({0: None}),
        lambda saved: saved["param_groups"].pop(),
        lambda saved: saved["param_groups"][0].update(params=[0, 0]),
        lambda saved: saved["param_groups"][0].update(lr=math.nan),
        lambda saved: saved["param_groups"][0].update(betas=(2.0, 3.0)),
        lambda saved: saved["param_groups"][0].update(amsgrad=True),
        lambda saved: saved["param_groups"][0].pop("scale"),
        lambda saved: saved["param_groups"][0].update(more=1),
        lambda saved: saved.pop("state"),
    ],
)
def test_forged_settings_of_the_optimiser(change):
    optimizer = OPTIMIZERS["adamw"]
    saved = copy.deepcopy(optimizer.state_dict())
    change(saved)
    with pytest.raises(UserError, match=r"run: .*optimiser.*change 'name' for a new run"):
        check_optimizer(optimizer, saved, "run")


def test_states_of_generators():
    state = torch.get_rng_state()
    check_generators([(state, None), (state, torch.zeros(16, dtype=torch.uint8))], "run")
    forged = [None, [], [state], [(state,)], [(None, None)], [(state[:-1], None)], [(state.float(), None)]]
    forged += [[(state, torch.zeros(3, dtype=torch.uint8))], [(torch.full_like(state, 255), None)]]
    for saved in forged:
        with pytest.raises(UserError, match="run: the state of its random numbers is damaged"):
            check_generators(saved, "run")


def test_progress():
    now = vars(Progress())
    check_progress({**now, "epoch": 3, "best": 0.5, "losses": [0.1], "step_losses": [{"loss": 0.1}]}, now, "run")
    for saved in (None, {}, {**now, "more": 1}):
        with pytest.raises(UserError, match="another version"):
            check_progress(saved, now, "run")
    for forged in ({"epoch": -1}, {"epoch": "1"}, {"best": None}, {"losses": ["x"]}, {"step_losses": [[0.1]]}):
        with pytest.raises(UserError, match="its progress is damaged"):
            check_progress({**now, **forged}, now, "run")
