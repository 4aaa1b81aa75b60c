"""Sequence of layers with optional activation checkpointing, used by all transformers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stack(nn.ModuleList):
    """Calls its layers in order: (B, N, D) -> (B, N, D). The state_dict keys are those of a ModuleList or Sequential.

    With `checkpointing`, a layer's activations are recomputed for the gradient, with the same dropout, instead of
    stored: memory then holds the inputs of all layers and the activations of one.

    References:
        Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174, 2016.
    """

    checkpointing = False

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        """`more` is passed to every layer."""
        for layer in self:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, *more, use_reentrant=False)
            else:
                x = layer(x, *more)
        return x
