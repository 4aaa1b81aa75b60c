"""Stage 1 on a pretrained encoder: shapes, heads, the moments that a score is fitted to, and gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avdfd.models.speech_encoder import Hidden, layers_of, loudness_weights, summary
from tests.helpers.encoders import WAVLM, WHISPER, encoder_of

Values = dict[str, Any]
Files = dict[str, Path]


@pytest.mark.parametrize("front", [WHISPER, WAVLM], ids=lambda front: front["arch"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"layers": [1, 2]},
        {"layers": "learned"},
        {"head": "sls"},
        {"head": "attentive", "layers": [2]},
        {"head": "graph"},
        {"rate": 25},
    ],
    ids=str,
)
def test_shapes_and_independence_of_other_clips(front: Values, more: dict[str, Any], encoders: Files):
    encoder = encoder_of(front, encoders, **more)
    audio = torch.randn(3, 16_000, generator=torch.Generator().manual_seed(2)) / 10
    with torch.no_grad():
        feature, tokens = encoder(audio)
        alone = encoder(audio[1:2])
        front_output = encoder.front(audio)
        again = encoder(front_output)
    assert feature.shape == (3, 16)
    assert tokens.shape == (3, (50 if front["kind"] == "whisper" else 49) // (1 if more.get("rate") != 25 else 2), 16)
    torch.testing.assert_close(feature[1:2], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[1:2], alone[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again[0], feature)


@pytest.mark.parametrize("head", ["attentive", "graph"])
def test_heads_depend_on_the_order_of_time_only_as_designed(head: str, encoders: Files):
    """Attentive statistics are sums over time; the graph's convolutions relate neighbours."""
    encoder = encoder_of(WAVLM, encoders, {"depth": 0}, head=head)
    hidden = Hidden(torch.randn(2, 12, 3, 16, generator=torch.Generator().manual_seed(3)))
    with torch.no_grad():
        forward, backward = (encoder(Hidden(states))[0] for states in (hidden.states, hidden.states.flip(1)))
    assert torch.allclose(forward, backward, atol=1e-5) == (head == "attentive")


def test_attentive_statistics_are_those_of_weighted_tokens(encoders: Files):
    encoder = encoder_of(WAVLM, encoders, head="attentive")
    tokens = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(4))
    assert isinstance(encoder.attention, torch.nn.Sequential)
    with torch.no_grad():
        first, _, second = encoder.attention
        weight = torch.softmax(second(torch.tanh(first(tokens)))[..., 0], dim=1).numpy()
        expected = []
        for w, x in zip(weight, tokens.numpy(), strict=True):
            mean = np.average(x, axis=0, weights=w)
            expected.append([*mean, *np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w) + 1e-4)])
        torch.testing.assert_close(encoder._pooled(tokens), encoder.pool_proj(torch.tensor(np.array(expected)).float()))


def test_rate_25_averages_neighbours(encoders: Files):
    audio = torch.randn(2, 16_000)
    with torch.no_grad():
        fast, slow = (encoder_of(WAVLM, encoders, rate=rate).front(audio).states for rate in (50, 25))
    assert (fast.shape[1], slow.shape[1]) == (49, 24)
    torch.testing.assert_close(slow[:, 3], (fast[:, 6] + fast[:, 7]) / 2)


def test_summary_is_mean_deviation_and_deviation_of_steps():
    states = torch.randn(2, 5, 2, 3)
    found = summary(Hidden(states, None))
    assert found.shape == (2, 18)
    torch.testing.assert_close(found[:, :6], states.mean(1).flatten(1))
    torch.testing.assert_close(found[:, 6:12], (states.var(1, unbiased=False) + 1e-4).sqrt().flatten(1))
    steps = states[:, 1:] - states[:, :-1]
    torch.testing.assert_close(found[:, 12:], (steps.var(1, unbiased=False) + 1e-4).sqrt().flatten(1))


def test_a_weighted_summary_is_that_of_the_tokens_that_count():
    states = torch.randn(2, 9, 2, 3)
    weights = torch.zeros(2, 9)
    weights[:, 2:6] = 0.25
    torch.testing.assert_close(summary(Hidden(states, None, weights)), summary(Hidden(states[:, 2:6])))
    torch.testing.assert_close(summary(Hidden(states, None, torch.full((2, 9), 1 / 9))), summary(Hidden(states)))


def test_a_weighted_mean_is_nearer_to_the_loud_tokens():
    states, weights = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1), torch.tensor([[0.2, 0.2, 0.6]])
    mean, spread, of_steps = summary(Hidden(states, None, weights))[0].tolist()
    assert mean == pytest.approx(2.0)
    assert spread == pytest.approx((0.2 * 4 + 0.2 * 1 + 0.6 * 1 + 1e-4) ** 0.5)
    share = 0.2 / (0.2 + 0.12**0.5)  # of the first step, by the geometric means of its tokens' weights
    assert of_steps == pytest.approx((share * (1 - share) + 1e-4) ** 0.5)


def test_weights_of_tokens_by_loudness():
    """The loudest token, one 25 dB below it with half its weight, one 46 dB below it, and silence."""
    amplitudes = torch.tensor([0.5, 0.5 * 10 ** (-25 / 20), 0.5 * 10 ** (-46 / 20), 0.0])
    audio = (amplitudes[:, None] * torch.tensor([1.0, -1.0] * 160)).flatten()[None]
    found = loudness_weights(torch.cat([audio, audio / 20]), 4)
    assert found.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    relative = found / found[:, :1]
    assert relative[0].tolist() == pytest.approx([1.0, 0.5, 1e-3, 0.0], abs=2e-4)
    assert relative[1].tolist() == pytest.approx([1.0, 0.5, 1e-3, 0.0], abs=2e-4), "the level of the clip is no matter"
    assert loudness_weights(torch.zeros(1, 1283), 4).tolist() == [[0.25] * 4], "all of silence counts"


def test_weights_by_loudness_change_the_fitted_score_alone(encoders: Files):
    equal, loud = (
        encoder_of(WHISPER, encoders, {"score": "fitted"}, weighting=weighting) for weighting in ("equal", "loudness")
    )
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(6)) / 10
    audio[:, 8_000:] /= 300
    for encoder in (equal, loud):
        assert encoder.score is not None
        encoder.score.direction.fill_(1.0)
    with torch.no_grad():
        ours, theirs = loud(audio), equal(audio)
        first = loud(audio[:, :8_000])[0]
    assert (ours[0][:, 0] - theirs[0][:, 0]).abs().min() > 1e-2
    torch.testing.assert_close(ours[0][:, 1:], theirs[0][:, 1:])
    torch.testing.assert_close(ours[1], theirs[1])
    assert first.isfinite().all()


@pytest.mark.parametrize("first", [None, 0, 2])
def test_train_from_leaves_the_layers_below_without_gradients(first: int | None, encoders: Files):
    encoder = encoder_of(WAVLM, encoders, train_from=first, lr_scale=None if first is None else 0.1)
    feature, _ = encoder.requires_grad_(True)(torch.randn(2, 8_000))
    feature.sum().backward()
    assert encoder.front_end is not None
    below, above = layers_of(encoder.front_end)
    got = [any(p.grad is not None for p in layer.parameters()) for layer in (below, above)]
    assert got == {None: [False, False], 0: [True, True], 2: [False, True]}[first]
    assert encoder.proj.weight.grad is not None


@pytest.mark.parametrize("front", [WHISPER, WAVLM], ids=lambda front: front["arch"])
@pytest.mark.parametrize("layers", ["all", [1]], ids=str)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("head", ["transformer", "graph"])
def test_everything_with_a_gradient_gets_one(front: Values, layers: Any, first: int, head: str, encoders: Files):
    """DistributedDataParallel refuses parameters that the loss does not depend on."""
    encoder = encoder_of(front, encoders, layers=layers, train_from=first, lr_scale=0.1, head=head).train()
    feature, tokens = encoder(torch.randn(2, 8_000))
    (feature.sum() + tokens.square().sum()).backward()
    assert not [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
