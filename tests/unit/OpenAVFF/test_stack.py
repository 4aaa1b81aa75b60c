"""A stack of layers with and without activation checkpointing."""

import torch
from torch import nn

from OpenAVFF.stack import Stack
from OpenAVFF.visual_encoder import PatchEmbedding


class Half(nn.Module):
    """A layer with dropout that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout, self.calls = nn.Linear(6, 6), nn.Dropout(0.5), 0

    def forward(self, x, shift=0):
        self.calls += 1
        return self.dropout(self.linear(x).relu()) + shift


def gradients(stack, x):
    stack.zero_grad()
    torch.manual_seed(1)
    stack(x).square().sum().backward()
    return [p.grad.clone() for p in stack.parameters()], torch.get_rng_state()


def test_checkpointing_gives_the_same_gradients_with_dropout():
    torch.manual_seed(0)
    stack, x = Stack(Half() for _ in range(3)), torch.randn(5, 6)
    kept, random = gradients(stack, x)
    assert [layer.calls for layer in stack] == [1, 1, 1]
    stack.checkpointing = True
    again, random_again = gradients(stack, x)
    assert [layer.calls for layer in stack] == [3, 3, 3]
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
    assert torch.equal(random, random_again), "what comes after draws the same"
    with torch.no_grad():
        stack(x)
    assert [layer.calls for layer in stack] == [4, 4, 4]


def test_every_layer_gets_the_other_arguments():
    stack = Stack(Half() for _ in range(2)).eval()
    x = torch.randn(4, 6)
    first, second = stack
    torch.testing.assert_close(stack(x, 2.0), second(first(x, 2.0), 2.0))
    assert list(stack.state_dict()) == list(nn.Sequential(Half(), Half()).state_dict())


def test_patch_projection_equals_the_matrix_product():
    torch.manual_seed(0)
    embedding = PatchEmbedding(dim=12, tubelet=2, patch=4)
    video = torch.randn(2, 3, 4, 8, 12)
    torch.testing.assert_close(embedding.product(video), embedding(video), rtol=1e-4, atol=1e-5)
