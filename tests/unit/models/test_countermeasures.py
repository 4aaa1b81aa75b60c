"""AASIST, RawNet2 and LFCC-LCNN: released keys and numbers, scores of clips on their own, gradients."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avdfd.models import aasist, rawnet2
from avdfd.models.aasist import SIZES, Aasist
from avdfd.models.lcnn import Lcnn, from_released
from avdfd.models.rawnet2 import RawNet2
from tests import reference

MODELS = {
    "AASIST": lambda faithful: Aasist(**SIZES["aasist"], faithful=faithful),
    "AASIST-L": lambda faithful: Aasist(**SIZES["aasist-l"], faithful=faithful),
    "RawNet2": lambda faithful: RawNet2(faithful=faithful),
    "LFCC-LCNN": lambda faithful: Lcnn(),
}
SMALL = {
    "AASIST-L": MODELS["AASIST-L"],
    "RawNet2": lambda faithful: RawNet2(channels=(4, 8), hidden=8, layers=1, faithful=faithful),
    "LFCC-LCNN": MODELS["LFCC-LCNN"],
}


def leaky(x):
    return F.leaky_relu(x, 0.3)


def waveforms(count=3, samples=4_000):
    generator = torch.Generator().manual_seed(3)
    return 0.3 * torch.randn(count, samples, generator=generator) * torch.rand(count, 1, generator=generator)


@pytest.fixture(params=[(name, faithful) for name in SMALL for faithful in (False, True)], ids=str)
def small(request):
    name, faithful = request.param
    torch.manual_seed(0)
    return SMALL[name](faithful)


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_released_model(name):
    """Its drawn weights are doubled: with small ones all inputs have nearly the same score."""
    drawn = reference.state_dict("countermeasures", name)
    model = MODELS[name](True)
    model.load_state_dict(from_released({key: 2 * v if v.ndim >= 2 else v for key, v in drawn.items()}))
    chirp = 0.4 * torch.sin(torch.arange(32_000) ** 2 / 8e4)
    with torch.no_grad():
        out = model.eval()(torch.stack([0.1 * reference.tensor("countermeasures.audio.0", 32_000), chirp]))
    out = out.diff(dim=1) if name == "RawNet2" else out  # it returns log probabilities, of the same difference
    expected = reference.values("countermeasures")[name]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert abs(expected[0] - expected[1]).max() > 100 * 1e-4, "both inputs have different scores"


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_shapes_are_the_released_ones(name):
    layout = json.loads((reference.FOLDER / "countermeasures_state_dicts.json").read_text())[name]
    released = from_released({key: torch.empty(shape, device="meta") for key, (shape, _) in layout.items()})
    with torch.device("meta"):
        ours = MODELS[name](True).state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == {k: tuple(v.shape) for k, v in released.items()}


def test_foreign_keys_are_kept_to_be_reported():
    assert from_released({"m_transform.1.0.weight": 1, "input_mean": 2, "m_output_act.0.bias": 3}) == {
        "m_transform.1.0.weight": 1,
        "out.bias": 3,
    }


def test_a_score_does_not_depend_on_the_batch(small):
    x = waveforms()
    small(x)  # changes the running statistics from their initial values
    small.eval()
    with torch.no_grad():
        alone = torch.cat([small(one[None]) for one in x])
        torch.testing.assert_close(small(x), alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(small(x.flip(0)).flip(0), alone, rtol=1e-4, atol=1e-5)


def test_every_trained_weight_has_a_gradient(small):
    small.train()(waveforms(4)).square().sum().backward()
    missing = [name for name, p in small.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "shape", "activation"), [(aasist, (2, 4, 5, 9), F.selu), (rawnet2, (2, 4, 9), leaky)]
)
def test_a_released_block_does_not_activate_its_input(module, shape, activation):
    """It computes the activation and drops it; its weights are not trained then."""
    torch.manual_seed(0)
    ours, theirs = module.ResidualBlock(4, 4), module.ResidualBlock(4, 4, faithful=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    with torch.no_grad():
        given, block = {False: activation(ours.eval().bn1(x)), True: x}, theirs.eval()
        for model in (ours, theirs):
            inner = block.conv2(activation(block.bn2(block.conv1(given[model is theirs]))))
            steps = (x + inner)[..., :9].unflatten(-1, (3, 3)).amax(dim=-1)
            torch.testing.assert_close(model(x), steps)
    assert [key for key, p in theirs.named_parameters() if not p.requires_grad] == ["bn1.weight", "bn1.bias"]
    assert all(p.requires_grad for p in ours.parameters())
