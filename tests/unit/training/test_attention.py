"""Attention back ends: the calls that a model makes, the order by their times, and the order that a step then uses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

from avdfd.core.errors import UserError
from avdfd.training import attention
from avdfd.training.attention import Attention, Call, calls_of, milliseconds
from tests.helpers.models import small_audio_net, small_two_branch

GPU, CPU = torch.device("cuda"), torch.device("cpu")
MEL = torch.zeros(3, 128, 768)


@pytest.fixture
def card(monkeypatch):
    """Replace the GPU by one of a compute capability, which the value of the fixture sets."""
    monkeypatch.setattr(attention, "MEASURED", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")

    def capability(*version):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: version)

    capability(9, 0)
    return capability


def measured(calls, **times):
    """Replace the measurement: record the calls, return these times."""

    def of(call, name, device):
        calls.append((call, name))
        return times.get(name)

    return of


def order_in(context):
    """Back ends that torch tries within a context, in their order."""
    with context:
        return _cur_sdpa_kernel_backends(with_priority=True)


def test_calls_are_those_of_the_model():
    model, attend = small_audio_net(), F.scaled_dot_product_attention
    state = torch.get_rng_state()
    calls = calls_of(model, MEL, precision="bf16")
    (call,) = calls
    assert calls[call] == 1, "layers"
    assert call.query == call.key
    assert call.query[:2] == (3, 2), "clips, heads"
    assert call.query[3] == 16, "width of a head"
    assert call.precision == "bf16"
    assert not call.masked
    assert torch.equal(torch.get_rng_state(), state)
    assert F.scaled_dot_product_attention is attend


def test_dropout_and_masks_are_seen():
    class Model(nn.Module):
        def forward(self, x):
            x = F.scaled_dot_product_attention(x, x, x, torch.zeros(4, 4, device=x.device))
            return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)

    masked, dropped = calls_of(Model(), torch.zeros(2, 3, 4, 8), precision="fp32")
    assert (masked.masked, masked.dropout) == (True, 0.0)
    assert (dropped.masked, dropped.dropout) == (False, 0.5)
    assert str(dropped) == "2 x 3 heads, 4 x 4 tokens of 8, fp32, dropout 0.5"


@pytest.mark.parametrize(
    ("times", "order"),
    [
        ({"cudnn": 1.0, "flash": 2.0, "efficient": 3.0}, "CUDNN FLASH EFFICIENT MATH"),
        ({"cudnn": 3.0, "flash": 1.0, "efficient": 2.0}, "FLASH EFFICIENT CUDNN MATH"),
        ({"efficient": 2.0}, "EFFICIENT CUDNN FLASH MATH"),
        ({}, "CUDNN FLASH EFFICIENT MATH"),
    ],
)
def test_the_fastest_comes_first(card, times, order):
    """Those that cannot run the measured call stay, as they may run others."""
    lines = []
    choice = Attention("auto", GPU, "bf16", lines.append, measured([], **times))
    found = order_in(choice(small_audio_net(), MEL))
    assert [backend.name.removesuffix("_ATTENTION") for backend in found[:4]] == order.split()
    first = {"CUDNN": "cudnn", "FLASH": "flash", "EFFICIENT": "efficient"}[order.split()[0]]
    (line,) = lines
    assert line.startswith(f"attention: {first} first; 1 calls of 3 x 2 heads, ")


def test_cudnn_is_left_out_on_older_cards(card):
    card(8, 6)
    calls = []
    found = order_in(Attention("auto", GPU, "bf16", measure=measured(calls, flash=1.0))(small_audio_net(), MEL))
    assert SDPBackend.CUDNN_ATTENTION not in found
    assert {name for _, name in calls} == {"flash", "efficient"}


def test_the_call_with_the_most_work_is_measured_once_per_shape(card):
    calls = []
    model = small_two_branch()
    for _ in range(2):
        choice = Attention("auto", GPU, "bf16", measure=measured(calls, flash=1.0))
        for _ in range(2):
            choice(model, MEL, torch.zeros(3, 3, 16, 32, 32))
    assert len(calls) == 3, "back ends"
    every = calls_of(model, MEL, torch.zeros(3, 3, 16, 32, 32), precision="bf16")
    assert calls[0][0] == max(every, key=lambda call: call.work * every[call])


def test_the_config_overrides_the_measurement(card):
    lines, calls = [], []
    choice = Attention("efficient", GPU, "bf16", lines.append, measured(calls, cudnn=1.0))
    assert order_in(choice(small_audio_net(), MEL))[0] == SDPBackend.EFFICIENT_ATTENTION
    assert calls == []
    assert lines == ["attention: efficient first, as speed.attention says"]


def test_a_back_end_without_attention_is_refused(card):
    plain, clips = nn.Linear(2, 2), torch.zeros(3, 2)
    with pytest.raises(UserError, match=r"^speed.attention: this model has no fused attention; leave it out$"):
        Attention("flash", GPU, "bf16", pytest.fail)(plain, clips)
    assert order_in(Attention("auto", GPU, "bf16", pytest.fail)(plain, clips))


def test_a_cpu_has_no_choice():
    before = _cur_sdpa_kernel_backends(with_priority=True)
    choice = Attention("auto", CPU, "bf16", pytest.fail, lambda *_: pytest.fail("measured"))
    assert order_in(choice(small_audio_net(), MEL)) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_measurement_draws_from_no_generator():
    state = torch.cuda.get_rng_state()
    call = Call((2, 3, 64, 32), (2, 3, 64, 32), masked=False, dropout=0.1, precision="bf16")
    assert milliseconds(call, "math", GPU) > 0
    assert torch.equal(torch.cuda.get_rng_state(), state)
