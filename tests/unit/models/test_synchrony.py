"""Evidence of being out of sync from common movement, independent of appearance."""

import pytest
import torch
from torch.testing import assert_close

from avdfd.models.synchrony import Synchrony, either
from tests.helpers.models import small_two_branch


@pytest.fixture
def tokens():
    """Visual tokens of 3 clips, 8 moments of 4 places, whose moments differ."""
    torch.manual_seed(0)
    return torch.randn(3, 8, 4, 16)


def flat(tokens):
    return tokens.flatten(1, 2)


def test_moments_agree_with_themselves_for_every_face(tokens):
    face = torch.randn(3, 1, 1, 16)
    agreement, _ = Synchrony(8)(flat(tokens), flat(3 * tokens + face))
    assert agreement.shape == (3, 8, 8)
    assert_close(torch.diagonal(agreement, dim1=1, dim2=2), torch.ones(3, 8))
    assert (agreement - 2 * torch.eye(8)).max() < 1


def test_agreement_compares_means_over_the_face(tokens):
    shuffled = tokens[:, :, torch.tensor([2, 0, 3, 1])]
    assert_close(Synchrony(8)(flat(tokens), flat(shuffled))[0], Synchrony(8)(flat(tokens), flat(tokens))[0])


def test_logit_weights_the_agreement_at_each_lag(tokens):
    synchrony = Synchrony(8)
    with torch.no_grad():
        synchrony.logit.weight[0, synchrony.lags.index(2)] = 1.0
    late = tokens.roll(2, dims=1)  # the actual mouth follows its prediction two moments later
    agreement, logit = synchrony(flat(tokens), flat(late))
    expected = 5 * torch.stack([agreement[:, t, t + 2] for t in range(6)]).mean(0) - 1
    assert_close(logit, expected)
    assert (logit > synchrony(flat(tokens), flat(tokens))[1] + 3).all()


def test_either_is_the_probability_of_one_of_two():
    first, second = torch.tensor([-2.0, 0.0, 3.0, -60.0]), torch.tensor([-1.0, 0.0, -5.0, -60.0])
    p, q = first.double().sigmoid(), second.double().sigmoid()
    expected = torch.log((p + q - p * q) / ((1 - p) * (1 - q)))
    assert_close(either(first, second).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(either(torch.tensor([200.0, -80.0]), torch.tensor([200.0, -80.0]))).all()


def test_either_has_a_gradient_for_both():
    first, second = torch.tensor([-8.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    either(first, second).sum().backward()
    assert 0 < first.grad.item() < second.grad.item()


@pytest.mark.parametrize("direction", ["a2v", "symmetric"])
def test_detector_adds_it_to_the_visual_branch(direction):
    torch.manual_seed(0)
    detector = small_two_branch(direction=direction, synchrony=True)
    mel, video = torch.randn(2, 128, 768), torch.randn(2, 3, 16, 32, 32)
    detector.eval()
    out = detector(mel, video)
    assert out.agreement.shape == (2, 8, 8)
    with torch.no_grad():
        detector.synchrony.logit.bias += 2.0
    later = detector(mel, video)
    assert (later.logit_a2v > out.logit_a2v).all()
    assert_close(later.logit_audio, out.logit_audio)
    later.logit_final.sum().backward()
    assert detector.synchrony.logit.weight.grad is not None
