"""Losses of the two stages.

B batch   P embedding   T moments   K branches   labels and mismatches are one number per sample
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from OpenAVFF.precision import full_precision


def supcon(z: Tensor, labels: Tensor, temperature: float = 0.07, *, faithful: bool = False) -> Tensor:
    """Supervised contrastive loss of unit vectors z (B, P) with class labels (B,).

    Anchors without another sample of their class have no positive term and are left out of the mean. `faithful` counts
    them as 0 in it, as the released code does, so that the loss falls with their number.

    References: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020 (L_out).
    """
    self_mask = torch.eye(len(z), dtype=torch.bool, device=z.device)
    with full_precision(z):
        similarity = (z.float() @ z.float().T / temperature).masked_fill(self_mask, -torch.inf)
    log_prob = similarity - similarity.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None, :]) & ~self_mask
    positives = positive.sum(dim=1)
    per_anchor = -log_prob.masked_fill(~positive, 0).sum(dim=1) / positives.clamp_min(1)
    return per_anchor.sum() / (len(z) if faithful else (positives > 0).sum().clamp_min(1))


def ordinal_ring(z: Tensor, labels: Tensor, prototype: Tensor, margin: float = 0.2, classes: int = 4) -> Tensor:
    """Hinge loss: the mean distance to the real prototype should grow by `margin` from each class to the next.

    z (B, P), labels (B,) from 0 (real) to classes - 1 (furthest from real), prototype (P,). Pairs of neighbouring
    classes are left out if one is absent from the batch; without any pair the loss is 0.
    """
    distance = torch.linalg.vector_norm(z.float() - prototype.float(), dim=1)
    member = (labels[:, None] == torch.arange(classes, device=labels.device)).to(distance.dtype)
    counts = member.sum(dim=0)
    mean = (distance[:, None] * member).sum(dim=0) / counts.clamp_min(1)
    pair = (counts[:-1] > 0) & (counts[1:] > 0)
    hinge = torch.relu(margin - (mean[1:] - mean[:-1]))
    return (hinge * pair).sum() / pair.sum().clamp_min(1)


def ranking(logit: Tensor) -> Tensor:
    """Logistic loss on the margin of each fake's logit over its real partner's.

    logit (2 N,): N reals, then their N fakes.

    References: Burges et al., "Learning to rank using gradient descent" (RankNet), ICML 2005.
    """
    real, fake = logit.float().chunk(2)
    return F.softplus(real - fake).mean()


def in_sync(agreement: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE loss: in real clips, each predicted moment should agree best with the actual one of the same time.

    The contrast is with the other moments of the clip, in both directions. agreement (B, T, T) holds cosines with
    predicted moments in rows; labels (B,). Mean over the batch, in which fakes count as 0.

    References: van den Oord et al., "Representation learning with contrastive predictive coding", 2018 (InfoNCE).
    """
    similarity, moment = agreement.float() / temperature, torch.arange(agreement.shape[1], device=agreement.device)
    targets = moment.expand(len(similarity), -1)
    per_clip = sum(F.cross_entropy(x, targets, reduction="none").mean(1) for x in (similarity, similarity.mT)) / 2
    return torch.where(labels > 0.5, 0.0, per_clip).mean()


def mean_bce(logit: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the mean BCE in float32 over the samples that count; all (B,). Those that do not are 0 in the mean."""
    return (counted * F.binary_cross_entropy_with_logits(logit.float(), target, reduction="none")).mean()


def confidence(log_weights: Tensor, parts: Tensor) -> Tensor:
    """Cross-entropy of the fusion weights, supervised by the manipulated modality; mean over the batch.

    The target weight is shared equally by the branches whose modality is fake, and by all branches in a real clip.
    log_weights (B, K), parts (B, K): 1 if the branch's modality is fake.

    References: Corbiere et al., "Addressing failure prediction by learning model confidence", NeurIPS 2019 (a
    confidence network with a target of its own, which does not change the features it reads).
    """
    sharing = torch.where(parts.amax(dim=1, keepdim=True) > 0.5, parts, 1.0)
    return F.cross_entropy(log_weights, sharing / sharing.sum(dim=1, keepdim=True))


def align_repel(mismatch: Tensor, labels: Tensor, margin: float = 0.5) -> Tensor:
    """Mean loss that drives the mismatch (B,) to zero for real (0) and beyond `margin` for fake (1) samples."""
    fake = labels > 0.5
    return torch.where(fake, torch.relu(margin - mismatch), mismatch).mean()
