"""Losses of the two stages: small pure functions.

B batch   P embedding   labels and mismatches are one number per sample
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def supcon(z: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss of unit vectors z (B, P) with class labels (B,).

    Anchors without another sample of their class have no positive term and are left out of the mean.

    References: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020 (L_out).
    """
    self_mask = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z.float() @ z.float().T / temperature).masked_fill(self_mask, -torch.inf)
    log_prob = similarity - similarity.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None, :]) & ~self_mask
    positives = positive.sum(dim=1)
    has_positive = positives > 0
    per_anchor = -log_prob.masked_fill(~positive, 0).sum(dim=1) / positives.clamp_min(1)
    return (per_anchor * has_positive).sum() / has_positive.sum().clamp_min(1)


def ordinal_ring(z: Tensor, labels: Tensor, prototype: Tensor, margin: float = 0.2, classes: int = 4) -> Tensor:
    """Mean distance to the real prototype must grow by `margin` from each class to the next.

    z (B, P), labels (B,) in 0 (real), ... classes - 1, by distance from real, prototype (P,). Pairs of neighbouring
    classes of which one is absent from the batch are left out; without any pair the loss is 0.
    """
    distance = torch.linalg.vector_norm(z.float() - prototype.float(), dim=1)
    member = (labels[:, None] == torch.arange(classes, device=labels.device)).to(distance.dtype)
    counts = member.sum(dim=0)
    mean = (distance[:, None] * member).sum(dim=0) / counts.clamp_min(1)
    pair = (counts[:-1] > 0) & (counts[1:] > 0)
    hinge = torch.relu(margin - (mean[1:] - mean[:-1]))
    return (hinge * pair).sum() / pair.sum().clamp_min(1)


def ranking(logit: Tensor) -> Tensor:
    """Logistic loss of each fake's logit above its partner's: logit (2 N,), of N reals, then of their N fakes.

    References: Burges et al., "Learning to rank using gradient descent" (RankNet), ICML 2005.
    """
    real, fake = logit.float().chunk(2)
    return F.softplus(real - fake).mean()


def in_sync(agreement: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """In real clips (label 0) each predicted moment agrees with the one that is seen then more than with the others of
    its clip, and the reverse; agreement (B, T, T) are cosines, row for predicted. Mean over the batch; fakes have 0.

    References: van den Oord et al., "Representation learning with contrastive predictive coding", 2018 (InfoNCE).
    """
    similarity, moment = agreement.float() / temperature, torch.arange(agreement.shape[1], device=agreement.device)
    targets = moment.expand(len(similarity), -1)
    per_clip = sum(F.cross_entropy(x, targets, reduction="none").mean(1) for x in (similarity, similarity.mT)) / 2
    return torch.where(labels > 0.5, 0.0, per_clip).mean()


def confidence(log_weights: Tensor, parts: Tensor) -> Tensor:
    """Cross-entropy of a fusion's weights with where there is something to find: the branches whose part of the clip is
    fake share the weight equally; of a real clip, all do.

    log_weights (B, K) of the branches; parts (B, K), 1 where what a branch is about is fake; mean over the batch.

    References: Corbiere et al., "Addressing failure prediction by learning model confidence", NeurIPS 2019 (a
    confidence network has a target of its own and leaves the features that it looks at as they are).
    """
    sharing = torch.where(parts.amax(dim=1, keepdim=True) > 0.5, parts, 1.0)
    return F.cross_entropy(log_weights, sharing / sharing.sum(dim=1, keepdim=True))


def align_repel(mismatch: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """Mismatch (B,) goes to zero for real (0) and beyond `margin` for fake (1) samples; mean over the batch."""
    fake = labels > 0.5
    return torch.where(fake, torch.relu(margin - mismatch), mismatch).mean()
