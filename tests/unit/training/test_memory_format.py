"""Channels last changes the layout of images inside convolutions, and neither values nor states."""

import copy

import pytest
import torch
from torch import nn

from avdfd.core.errors import UserError
from avdfd.training.memory_format import FORMATS, ChannelsLast, convolutions, put_last, seconds

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Net(nn.Module):
    """A patch embedding, and convolutions in two and three dimensions with norms between."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 2, 2)
        self.two = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.three = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(4, 2, 2))

    def forward(self, images, videos):
        return self.two(self.patches(images)), {"video": self.three(videos), "none": None}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 16), torch.randn(2, 1, 5, 12, 12)


def stepped(net, inputs):
    net.zero_grad()
    images, rest = net(*inputs)
    (images.square().sum() + rest["video"].square().sum()).backward()
    return [images.detach(), rest["video"].detach(), *(p.grad for p in net.parameters())]


def test_values_and_states_stay(net, inputs):
    plain, last = net, copy.deepcopy(net)
    assert len([*convolutions(net)]) == 4, "without the one that cuts patches"
    put_last(last)
    before, after = stepped(plain, inputs), stepped(last, inputs)
    assert after[0].is_contiguous(memory_format=torch.channels_last)
    assert after[1].is_contiguous(memory_format=torch.channels_last_3d)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for (name, one), (name_2, other) in zip(plain.state_dict().items(), last.state_dict().items(), strict=True):
        assert name == name_2
        assert one.stride() == other.stride(), "a checkpoint of the one is a checkpoint of the other"
    assert all(p.grad.stride() == p.stride() for p in last.parameters())


def test_inputs_without_batch_stay(net, inputs):
    put_last(net)
    assert net.two[0](inputs[0].new_zeros(4, 8, 8)).dim() == 3


def test_hooks_can_be_removed(net, inputs):
    before = stepped(copy.deepcopy(net), inputs)
    for handle in put_last(net):
        handle.remove()
    assert all(torch.equal(one, other) for one, other in zip(before, stepped(net, inputs), strict=True))


def measured(times):
    """A measure that knows the formats by the hooks of the model."""

    def measure(model, *inputs, call, device, precision):
        assert call is nn.Module.__call__
        return times["last" if any(one._forward_pre_hooks for one in convolutions(model)) else "first"]

    return measure


@pytest.mark.parametrize(
    ("times", "chosen"), [({"first": 2.0, "last": 1.5}, "last"), ({"first": 1.0, "last": 1.5}, "first")]
)
def test_the_faster_format_is_chosen_once(net, inputs, times, chosen):
    lines = []
    choice = ChannelsLast("auto", net, GPU, "bf16", lines.append, measured(times))
    for _ in range(2):
        choice(net, *inputs)
    assert all(bool(one._forward_pre_hooks) == (chosen == "last") for one in convolutions(net))
    assert lines == [
        f"convolutions: channels {chosen}; a step with channels first {1000 * times['first']:.1f} ms, last 1500.0 ms"
    ]


def test_nothing_is_measured_without_a_choice(net, inputs):
    def never(*_, **__):
        raise AssertionError

    for wanted, model, device in (("auto", net, CPU), (False, net, GPU), ("auto", nn.Linear(2, 2), GPU)):
        ChannelsLast(wanted, model, device, "bf16", never, never)(model, *inputs)
        assert not any(one._forward_pre_hooks for one in convolutions(model))
    ChannelsLast(True, net, CPU, "bf16", never, never)(net, *inputs)
    assert all(one._forward_pre_hooks for one in convolutions(net))


def test_true_without_convolutions_is_refused():
    patches = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"speed.channels_last: this model has no convolutions of images"):
        ChannelsLast(True, patches, CPU, "bf16")


def test_a_measurement_leaves_gradients_and_random_numbers(net, inputs):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    dropping = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Dropout(0.5))
    torch.set_rng_state(state)
    assert seconds(dropping, inputs[0], call=nn.Module.__call__, device=CPU, precision="fp32") > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in dropping.parameters())
    assert {*FORMATS} == {nn.Conv2d, nn.Conv3d}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: formats are measured on one")
def test_a_gpu_measures_both_formats(net, inputs):
    lines = []
    model, inputs = net.to(GPU), [x.to(GPU) for x in inputs]
    before = [x.cpu() for x in stepped(copy.deepcopy(model), inputs)]
    ChannelsLast("auto", model, GPU, "fp32", lines.append)(model, *inputs)
    assert len(lines) == 1
    for one, other in zip(before, stepped(model, inputs), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-2, atol=1e-2)
