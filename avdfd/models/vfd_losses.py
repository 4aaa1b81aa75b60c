"""Distances and losses of voice-face matching.

    B batch   M negatives of each sample   E embedding

References:
    Balntas et al., "Learning local feature descriptors with triplets", BMVC 2016 (triplet).
    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018 (InfoNCE).
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195 (2022); ACM TOMM 20 (3), 2023.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from OpenAVFF.precision import full_precision

# Added to each component of a difference, as in torch.nn.PairwiseDistance, so that equal vectors have a gradient.
_EPS = 1e-6


def euclidean_distance(voice: Tensor, face: Tensor) -> Tensor:
    """Euclidean distance between vectors (..., E), which are broadcast: (...)."""
    return torch.linalg.vector_norm(voice.float() - face.float() + _EPS, dim=-1)


def cosine_distance(voice: Tensor, face: Tensor) -> Tensor:
    """1 - cosine of vectors (..., E): (...), from 0 (same direction) to 2 (opposite)."""
    return 1 - _cosine(voice, face)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 100.0) -> Tensor:
    """Triplet loss: positives should be nearer to their anchor than negatives by `margin`; mean over the triplets.

    anchor (B, E), positive (B, E), negative (B, E) or (B, M, E). The released code sums over M; this averages.
    """
    to_positive = euclidean_distance(anchor, positive)
    if negative.dim() == 3:
        anchor, to_positive = anchor[:, None], to_positive[:, None]
    return F.relu(to_positive - euclidean_distance(anchor, negative) + margin).mean()


def triplet_in_batch(voice: Tensor, face: Tensor, match: Tensor, margin: float = 100.0) -> Tensor:
    """Triplet loss with each voice (B, E) as anchor and the faces (B, E) of all other identities as negatives.

    Face i is the positive of voice i. match (B, B) is True if voice i and face j have the same identity; such faces
    are no negatives. The loss is 0 if the batch has a single identity.
    """
    distance = euclidean_distance(voice[:, None], face[None])
    hinge = F.relu(distance.diagonal()[:, None] - distance + margin)
    return hinge.masked_fill(match, 0).sum() / (~match).sum().clamp_min(1)


def info_nce(query: Tensor, positive: Tensor, negative: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE: cross-entropy of each query's positive against its own negatives, by cosine; mean over the queries.

    query (B, E), positive (B, E), negative (B, M, E).
    """
    logits = torch.cat([_cosine(query, positive)[:, None], _cosine(query[:, None], negative)], dim=1)
    return _first_is_right(logits / temperature)


def info_nce_in_batch(voice: Tensor, face: Tensor, match: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE from voice to face and from face to voice, with the other identities of the batch as negatives.

    voice (B, E), face (B, E), match (B, B) as in `triplet_in_batch`.
    """
    with full_precision(voice):
        logits = _unit(voice) @ _unit(face).T / temperature
    others = match & ~torch.eye(len(match), dtype=torch.bool, device=match.device)
    logits = logits.masked_fill(others, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def info_nce_pairs(
    voice: Tensor, face: Tensor, fake_voice: Tensor, fake_face: Tensor, temperature: float = 0.1
) -> Tensor:
    """InfoNCE: cross-entropy of a real pair against fake pairs, each scored by the cosine of its voice and face.

    voice (B, E), face (B, E), fake_voice (B, M, E), fake_face (B, M, E); mean over the real pairs.
    """
    logits = torch.cat([_cosine(voice, face)[:, None], _cosine(fake_voice, fake_face)], dim=1)
    return _first_is_right(logits / temperature)


def same_identity(identity: Tensor) -> Tensor:
    """Identity numbers (B,) -> (B, B), True if two samples have the same identity."""
    return identity[:, None] == identity[None, :]


def _first_is_right(logits: Tensor) -> Tensor:
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (_unit(a) * _unit(b)).sum(dim=-1)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)
