"""Submodules that are no part of a state_dict."""

import torch
from torch import nn

from avdfd.models.referred import leave_out


class Model(nn.Module):
    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.head, self.encoder = nn.Linear(2, 2), encoder
        leave_out(self, "encoder")


def test_a_submodule_keeps_its_weights_and_is_not_saved():
    encoder = nn.Linear(2, 2)
    before = encoder.weight.clone()
    whole, inside = Model(encoder), nn.Sequential(Model(encoder))
    assert set(whole.state_dict()) == {"head.weight", "head.bias"}
    assert set(inside.state_dict()) == {"0.head.weight", "0.head.bias"}
    empty = Model()
    empty.load_state_dict(whole.state_dict())
    assert torch.equal(empty.head.weight, whole.head.weight)
    inside.load_state_dict({f"0.{key}": torch.ones_like(value) for key, value in whole.state_dict().items()})
    assert torch.equal(inside[0].head.weight, torch.ones(2, 2))
    assert torch.equal(encoder.weight, before)
