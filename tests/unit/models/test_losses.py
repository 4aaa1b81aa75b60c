"""Losses against released values and naive loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avdfd.models.losses import align_repel, confidence, in_sync, ordinal_ring, ranking, supcon
from tests import reference


@pytest.fixture
def batch():
    z = F.normalize(reference.tensor("avdfd.z.0", 8, 256), dim=1)
    return z, torch.from_numpy(reference.values("avdfd")["labels"])


def test_released_values(batch):
    expected = reference.values("avdfd")
    z, labels = batch
    prototype = 0.02 * reference.tensor("avdfd.proto.0", 256)
    mismatch = reference.tensor("avdfd.mse.0", 8).abs()
    y = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])
    assert supcon(z, labels, 0.07).item() == pytest.approx(float(expected["supcon"]), rel=1e-5)
    assert ordinal_ring(z, labels, prototype, 0.2).item() == pytest.approx(float(expected["ordinal"]), rel=1e-5)
    assert align_repel(mismatch, y, 0.5).item() == pytest.approx(float(expected["align_repel"]), rel=1e-5)


def test_supcon_equals_the_loop(batch):
    z, _ = batch
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 0, 3])  # 2 and 3 have no positive
    similarity = (z @ z.T / 0.1).numpy()
    losses = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        log_sum = np.log(sum(np.exp(similarity[i, j]) for j in others))
        if positives:
            losses.append(-np.mean([similarity[i, j] - log_sum for j in positives]))
    assert supcon(z, labels, 0.1).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_supcon_of_an_anchor_without_a_positive():
    """Class 1 has one sample. The released mean counts it as 0; 2.2990 is what the released code computes."""
    z = F.normalize(reference.tensor("avdfd.z.1", 8, 256), dim=1)
    labels = torch.tensor([0, 0, 1, 3, 2, 2, 0, 3])
    assert supcon(z, labels, 0.07, faithful=True).item() == pytest.approx(2.2990, abs=5e-5)
    assert supcon(z, labels, 0.07).item() == pytest.approx(2.6274, abs=5e-5)


def test_supcon_without_any_positive_is_zero_with_finite_gradient(batch):
    z = batch[0][:3].clone().requires_grad_()
    loss = supcon(z, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(z.grad).all()


def test_supcon_does_not_depend_on_order(batch):
    z, labels = batch
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    torch.testing.assert_close(supcon(z[order], labels[order]), supcon(z, labels))


def test_ordinal_ring_is_zero_when_rings_are_in_order():
    prototype = torch.zeros(2)
    z = torch.tensor([[0.1, 0.0], [0.4, 0.0], [0.0, 0.7], [1.0, 0.0]])
    assert ordinal_ring(z, torch.tensor([0, 1, 2, 3]), prototype, margin=0.2).item() == 0
    # Classes 0 and 1 exchanged: 0.2 - (0.1 - 0.4) = 0.5 for the first pair, none for 0.4 -> 0.7 and 0.7 -> 1.0 ...
    swapped = ordinal_ring(z, torch.tensor([1, 0, 2, 3]), prototype, margin=0.2).item()
    assert swapped == pytest.approx(0.5 / 3)


def test_ordinal_ring_leaves_out_pairs_with_an_absent_class():
    z = torch.tensor([[0.1], [0.1], [0.1]])
    assert ordinal_ring(z, torch.tensor([0, 2, 3]), torch.zeros(1), 0.2).item() == pytest.approx(0.2)
    assert ordinal_ring(z[:1], torch.tensor([0]), torch.zeros(1), 0.2).item() == 0


def test_align_repel_moves_real_down_and_fake_up():
    mismatch = torch.tensor([0.3, 0.3, 0.9], requires_grad=True)
    align_repel(mismatch, torch.tensor([0.0, 1.0, 1.0]), margin=0.5).backward()
    torch.testing.assert_close(mismatch.grad, torch.tensor([1.0, -1.0, 0.0]) / 3)


def test_ranking_compares_each_fake_with_its_own_partner():
    logit = torch.tensor([0.0, 5.0, 1.0, 7.0])  # two reals, then their fakes
    expected = np.log1p(np.exp([-1.0, -2.0])).mean()
    assert ranking(logit).item() == pytest.approx(expected, rel=1e-6)
    assert ranking(logit + 3).item() == pytest.approx(expected, rel=1e-6)


def test_in_sync_contrasts_a_moment_with_the_others_of_its_clip():
    agreement = torch.tensor([[[0.9, 0.1], [0.3, 0.5]], [[0.0, 1.0], [1.0, 0.0]]])
    rows = -torch.log_softmax(agreement[0] / 0.1, dim=1).diagonal().mean()
    columns = -torch.log_softmax(agreement[0] / 0.1, dim=0).diagonal().mean()
    labels = torch.tensor([0.0, 1.0])  # the second clip is fake, and its moments may be anywhere
    torch.testing.assert_close(in_sync(agreement, labels), (rows + columns) / 2 / 2)
    assert in_sync(agreement, torch.ones(2)).item() == 0
    assert in_sync(agreement.flip(0), labels) > in_sync(agreement, labels) + 2


def test_confidence_equals_the_loop():
    torch.manual_seed(0)
    log_weights = F.log_softmax(torch.randn(5, 2), dim=1)
    parts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    targets = {(0, 0): (0.5, 0.5), (1, 0): (1, 0), (0, 1): (0, 1), (1, 1): (0.5, 0.5)}
    losses = []
    for w, fake in zip(log_weights.tolist(), parts.int().tolist(), strict=True):
        losses.append(-sum(t * v for t, v in zip(targets[tuple(fake)], w, strict=True)))
    assert confidence(log_weights, parts).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_confidence_moves_weight_to_the_fake_modality():
    confidences = torch.zeros(3, 2, requires_grad=True)
    confidence(F.log_softmax(confidences, dim=1), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).backward()
    torch.testing.assert_close(confidences.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.5], [0.5, -0.5]]) / 3)
