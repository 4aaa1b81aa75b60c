"""Layers one after another, as the transformers of all models have them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stack(nn.ModuleList):
    """Calls its layers in order: (B, N, D) -> (B, N, D). The state_dict keys are those of a ModuleList or Sequential.

    With `checkpointing`, what a layer computes on the way is not kept for the gradient but computed again, with the
    same dropout, so that memory holds the inputs of all layers and the inside of one.

    References:
        Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016.
    """

    checkpointing = False

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        """`more` goes to every layer as it is."""
        for layer in self:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, *more, use_reentrant=False)
            else:
                x = layer(x, *more)
        return x
