"""Layers that several models share.

B batch   N tokens   D width
"""

from torch import Tensor, nn

from OpenAVFF.precision import Float32
from OpenAVFF.stack import Stack


class Layer(nn.TransformerEncoderLayer):
    """The layer of torch. Its own forward is here because torch.compile leaves calls of torch's modules alone."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class TransformerEncoder(nn.Module):
    """Post-norm encoder layers with ReLU and fused attention (Vaswani et al., 2017): (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, depth: int, heads: int, mlp_dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = Stack(Layer(dim, heads, mlp_dim, dropout, batch_first=True) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def head(dim: int, hidden: int, out: int) -> Float32:
    """Return a two-layer classifier with dropout 0.1, in float32: (B, dim) -> (B, out)."""
    return Float32(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, out))
