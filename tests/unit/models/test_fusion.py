"""Fusion of probabilities is exact and has a gradient everywhere."""

import pytest
import torch
import torch.nn.functional as F

from avdfd.models.fusion import ConfidenceFusion, FixedFusion, fuse_probabilities, fuse_probabilities_released


def log_weights(*w):
    return torch.tensor([w]).log()


def test_equals_the_mean_of_probabilities():
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 2, dtype=torch.float64)
    weights = F.log_softmax(torch.randn(50, 2, dtype=torch.float64), dim=-1)
    p = (weights.exp() * torch.sigmoid(logits)).sum(-1)
    torch.testing.assert_close(fuse_probabilities(logits, weights).double(), torch.logit(p), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fuse_probabilities_released(logits, weights), torch.logit(p))


@pytest.mark.parametrize("a", [-40.0, 40.0])
@pytest.mark.parametrize("v", [-40.0, 40.0])
def test_gradients_at_extreme_logits_in_bf16(a, v):
    """If both branches are certain and wrong, the loss still corrects both at full strength."""
    logits = torch.tensor([[a, v]], dtype=torch.bfloat16, requires_grad=True)
    weights = torch.tensor([[0.3, 0.7]]).log().to(torch.bfloat16).requires_grad_()
    fused = fuse_probabilities(logits, weights)
    label = torch.tensor([0.0 if a > 0 else 1.0])
    F.binary_cross_entropy_with_logits(fused, label).backward()
    assert torch.isfinite(fused).all()
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(weights.grad).all()
    if a == v:
        assert fused.item() == pytest.approx(a, abs=0.2)
        assert logits.grad.abs().sum().item() == pytest.approx(1.0, abs=0.02)
    else:
        # p is the weight of the branch that scores fake, so only moving the weight helps.
        expected = torch.logit(torch.tensor(0.3 if a > 0 else 0.7))
        assert fused.item() == pytest.approx(expected.item(), abs=0.02)
        assert weights.grad.abs().max() > 0.1


def test_released_form_has_no_gradient_at_extreme_logits():
    logits = torch.tensor([[40.0, 40.0]], requires_grad=True)
    F.binary_cross_entropy_with_logits(
        fuse_probabilities_released(logits, log_weights(0.5, 0.5)), torch.zeros(1)
    ).backward()
    assert logits.grad.abs().max() == 0


def test_confidence_weights_are_per_sample():
    torch.manual_seed(0)
    fusion = ConfidenceFusion(24, hidden=8)
    features, logits = torch.randn(5, 24), torch.randn(5, 2)
    fused, log_weights = fusion.eval()(features, logits)
    weights = log_weights.exp()
    assert weights.shape == (5, 2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5))
    assert weights[:, 0].std() > 1e-3
    low, high = logits.min(-1).values, logits.max(-1).values
    assert ((fused >= low) & (fused <= high)).all()


@pytest.mark.parametrize("supervised", [False, True])
def test_supervised_weights_give_their_inputs_no_gradient(supervised):
    torch.manual_seed(0)
    fusion = ConfidenceFusion(24, hidden=8, supervised=supervised).eval()
    features, logits = inputs = [torch.randn(5, n, requires_grad=True) for n in (24, 2)]
    _, log_weights = fusion(*inputs)
    log_weights[:, 0].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in fusion.parameters())
    assert [x.grad is not None for x in inputs] == [not supervised] * 2

    fused, _ = fusion(features, logits)
    fused.sum().backward()
    assert (logits.grad != 0).all()
    assert (features.grad is None) == supervised


def test_fixed_weights():
    logits = (4 * torch.randn(6, 2)).requires_grad_()
    unused = torch.full((6, 4), torch.nan)  # features are not read
    fused, log_weights = FixedFusion((0.5, 0.5))(unused, logits)
    torch.testing.assert_close(fused.sigmoid(), logits.sigmoid().mean(dim=1))
    torch.testing.assert_close(log_weights.exp(), torch.full((6, 2), 0.5))

    visual = FixedFusion((0.0, 1.0))
    fused, log_weights = visual(unused, logits)
    torch.testing.assert_close(fused, logits[:, 1])
    assert log_weights.exp().tolist() == [[0, 1]] * 6
    fused.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 1.0]]).expand(6, 2))
    assert not visual.state_dict()
    assert not list(visual.parameters())
