"""Losses of voice-face matching, against loops over samples and against torch."""

import math

import pytest
import torch
import torch.nn.functional as F

from avdfd.models import vfd_losses as losses
from tests import reference


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def distance(a, b):
    return math.sqrt(sum((float(x - y) + 1e-6) ** 2 for x, y in zip(a, b, strict=True)))


def cross_entropy(right, wrong, temperature):
    """Negative log softmax of the first of some cosines."""
    scores = [math.exp(c / temperature) for c in (right, *wrong)]
    return -math.log(scores[0] / sum(scores))


def mean(numbers):
    return sum(numbers) / len(numbers)


def test_distances():
    voice, face = vectors(5, 8), vectors(5, 8, seed=1)
    expected = torch.tensor([distance(v, f) for v, f in zip(voice, face, strict=True)])
    torch.testing.assert_close(losses.euclidean_distance(voice, face), expected)
    torch.testing.assert_close(losses.euclidean_distance(voice, face), torch.nn.PairwiseDistance(p=2)(voice, face))
    torch.testing.assert_close(losses.cosine_distance(voice, face), 1 - F.cosine_similarity(voice, face))


def test_distance_of_equal_vectors_has_a_gradient():
    voice = vectors(2, 8).requires_grad_()
    losses.euclidean_distance(voice, voice.detach()).sum().backward()
    assert voice.grad.isfinite().all()


@pytest.mark.parametrize("margin", [1.0, 100.0])
def test_triplet_equals_torch_and_a_loop(margin):
    anchor, positive, negative = (vectors(6, 8, seed=s) for s in range(3))
    value = losses.triplet(anchor, positive, negative, margin)
    torch.testing.assert_close(value, torch.nn.TripletMarginLoss(margin=margin, p=2)(anchor, positive, negative))
    rows = zip(anchor, positive, negative, strict=True)
    naive = mean([max(0.0, distance(a, p) - distance(a, n) + margin) for a, p, n in rows])
    assert value.item() == pytest.approx(naive, rel=1e-5)


def test_triplet_of_several_negatives_is_the_mean_over_them():
    anchor, positive, negative = vectors(3, 8), vectors(3, 8, seed=1), vectors(3, 5, 8, seed=2)
    expected = torch.stack([losses.triplet(anchor, positive, negative[:, m], 1.0) for m in range(5)]).mean()
    torch.testing.assert_close(losses.triplet(anchor, positive, negative, 1.0), expected)


def match_of(*identities):
    return losses.same_identity(torch.tensor(identities))


def test_triplet_in_batch_equals_a_loop():
    voice, face, identities = vectors(5, 8), vectors(5, 8, seed=1), [0, 1, 0, 2, 1]
    hinges = [
        max(0.0, distance(voice[i], face[i]) - distance(voice[i], face[j]) + 1.0)
        for i in range(5)
        for j in range(5)
        if identities[i] != identities[j]
    ]
    value = losses.triplet_in_batch(voice, face, match_of(*identities), 1.0)
    assert value.item() == pytest.approx(mean(hinges), rel=1e-5)
    assert losses.triplet_in_batch(voice, face, match_of(3, 3, 3, 3, 3)).item() == 0


def test_info_nce_equals_a_loop():
    query, positive, negative = vectors(4, 8), vectors(4, 8, seed=1), vectors(4, 3, 8, seed=2)
    naive = mean(
        [
            cross_entropy(cosine(query[i], positive[i]), [cosine(query[i], n) for n in negative[i]], 0.2)
            for i in range(4)
        ]
    )
    assert losses.info_nce(query, positive, negative, 0.2).item() == pytest.approx(naive, rel=1e-5)


def test_info_nce_in_batch_equals_a_loop():
    voice, face, identities = vectors(5, 8), vectors(5, 8, seed=1), [0, 1, 0, 2, 1]

    def one_way(queries, keys):
        return mean(
            [
                cross_entropy(
                    cosine(queries[i], keys[i]),
                    [cosine(queries[i], keys[j]) for j in range(5) if identities[j] != identities[i]],
                    0.1,
                )
                for i in range(5)
            ]
        )

    naive = (one_way(voice, face) + one_way(face, voice)) / 2
    value = losses.info_nce_in_batch(voice, face, match_of(*identities))
    assert value.item() == pytest.approx(naive, rel=1e-5)
    torch.testing.assert_close(value, losses.info_nce_in_batch(face, voice, match_of(*identities)))


def test_info_nce_in_batch_of_distinct_identities_is_that_of_clip():
    voice, face = F.normalize(vectors(5, 8), dim=1), F.normalize(vectors(5, 8, seed=1), dim=1)
    logits, target = voice @ face.T / 0.1, torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(losses.info_nce_in_batch(voice, face, match_of(*range(5))), expected)


def test_info_nce_in_batch_of_one_identity_has_zero_gradient():
    voice = vectors(3, 8).requires_grad_()
    loss = losses.info_nce_in_batch(voice, vectors(3, 8, seed=1), match_of(0, 0, 0))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert voice.grad.abs().max() < 1e-5


def test_info_nce_pairs_equals_a_loop_and_the_released_value():
    q, k = reference.tensor("mvf.q.0", 4, 16), reference.tensor("mvf.k.0", 4, 16)
    qn, kn = reference.tensor("mvf.qn.0", 4, 3, 16), reference.tensor("mvf.kn.0", 4, 3, 16)
    value = losses.info_nce_pairs(q, k, qn, kn).item()
    naive = mean(
        [
            cross_entropy(cosine(q[i], k[i]), [cosine(a, b) for a, b in zip(qn[i], kn[i], strict=True)], 0.1)
            for i in range(4)
        ]
    )
    assert value == pytest.approx(naive, rel=1e-5)
    assert value == pytest.approx(float(reference.values("vfd")["custom_info_nce"]), rel=1e-4)
