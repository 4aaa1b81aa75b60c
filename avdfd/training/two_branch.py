"""Loss of the released design with two branches (avdfd/models/two_branch.py)."""

import torch.nn.functional as F
from torch import Tensor

from avdfd.config import TrainConfig
from avdfd.models.losses import align_repel, confidence, in_sync
from avdfd.models.two_branch import TwoBranchOutput


def two_branch_loss(cfg: TrainConfig, out: TwoBranchOutput, label: Tensor, fake_modalities: Tensor) -> Tensor:
    """Weighted sum of the losses of a batch, in float32: label (B,), and fake_modalities (B, 2) as in `Batch`.

    BCE of the fused probability, align/repel on the mismatch of predicted and actual visual tokens, and fusion weights
    supervised by the manipulated modality.
    """
    loss = F.binary_cross_entropy_with_logits(out.logit_final.float(), label)
    loss = loss + cfg.loss.align * align_repel(out.mismatch_mse, label, cfg.loss.margin)
    if cfg.loss.consistency:
        loss = loss + cfg.loss.consistency * F.binary_cross_entropy_with_logits(out.logit_a2v.float(), label)
    if cfg.loss.confidence and cfg.fusion == "learned":
        loss = loss + cfg.loss.confidence * confidence(out.log_weights, fake_modalities)
    if cfg.synchrony is not None and out.agreement is not None:
        loss = loss + cfg.synchrony.weight * in_sync(out.agreement, label)
    return loss
