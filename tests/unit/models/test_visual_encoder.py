"""The tubelet ViT."""

import numpy as np
import pytest
import torch

from avdfd.models.visual_encoder import VisualBranch
from OpenAVFF.visual_encoder import VisualEncoder, sinusoid_table
from tests import reference


def test_positions_are_the_released_table():
    expected = reference.values("visual_positions")["video_pos_embed"]
    np.testing.assert_allclose(sinusoid_table(1568, 768)[0, ::97, ::29].numpy(), expected, atol=1e-4)


def test_shapes_and_token_order():
    torch.manual_seed(0)
    encoder = VisualEncoder(image_size=64, dim=32, depth=0, heads=2)
    video = torch.zeros(1, 3, 16, 64, 64)
    video[:, :, 6:8, 16:32, 32:48] = 1  # tubelet 3, row 1, column 2
    base = encoder(torch.zeros_like(video))[0]
    tokens, pooled = encoder(video)
    assert tokens.shape == (1, 8 * 4 * 4, 32)
    assert pooled.shape == (1, 32)
    changed = (tokens - base).abs().amax(-1)[0].nonzero().flatten().tolist()
    assert changed == [3 * 16 + 1 * 4 + 2]


def test_default_is_vit_b():
    encoder = VisualEncoder()
    assert encoder.grid == (8, 14, 14)
    assert len(encoder.blocks) == 12
    assert sum(p.numel() for p in encoder.parameters()) == 86_227_200


def test_attention_equals_explicit_softmax():
    torch.manual_seed(0)
    attention = VisualEncoder(image_size=32, dim=24, depth=1, heads=3).blocks[0].attn
    torch.nn.init.normal_(attention.q_bias)
    torch.nn.init.normal_(attention.v_bias)
    x = torch.randn(2, 5, 24)
    q, k, v = (x @ attention.qkv.weight.T).split(24, dim=-1)
    q, v = q + attention.q_bias, v + attention.v_bias
    heads = [t.view(2, 5, 3, 8).transpose(1, 2) for t in (q, k, v)]
    weights = (heads[0] @ heads[1].transpose(-1, -2) / 8**0.5).softmax(-1)
    expected = attention.proj((weights @ heads[2]).transpose(1, 2).reshape(2, 5, 24))
    torch.testing.assert_close(attention(x), expected)


def test_the_initial_projection_whitens_images():
    """Coarse and fine detail of an image with a 1/f spectrum reach the tokens with about the same strength."""
    torch.manual_seed(0)
    branch = VisualBranch(8, image_size=64, dim=64, depth=1, heads=2)
    usual = branch.backbone.patch_embedding.projection.weight.clone()
    branch.backbone.init_from_scratch()
    whitening = branch.backbone.patch_embedding.projection.weight
    n = torch.arange(16)
    dct = torch.cos(torch.pi / 16 * (n[:, None] + 0.5) * n) * (2 / 16) ** 0.5
    dct[:, 0] /= 2**0.5

    def strength(weight, low, high):
        """Standard deviation of a feature over images whose amplitude falls with frequency, in one frequency band."""
        frequency = torch.hypot(n[:, None].float(), n.float()).clamp_min(0.5)
        amplitude = torch.where((frequency >= low) & (frequency < high), 1 / frequency, 0.0)
        spectrum = torch.einsum("dctxy,xi,yj->dctij", weight, dct, dct)
        return (spectrum * amplitude).square().sum((1, 2, 3, 4)).mean().sqrt().item() / (amplitude > 0).sum() ** 0.5

    assert strength(usual, 0.5, 2) / strength(usual, 8, 16) > 5
    assert 0.7 < strength(whitening, 0.5, 2) / strength(whitening, 8, 16) < 1.4


@pytest.fixture
def dropping():
    """Two encoders with the same weights, the second of which is trained on half of the tokens."""
    torch.manual_seed(0)
    whole, half = (VisualEncoder(image_size=64, dim=32, depth=2, heads=2, keep=keep) for keep in (1.0, 0.5))
    half.load_state_dict(whole.state_dict())
    return whole, half


def test_evaluation_takes_every_token(dropping):
    video = torch.randn(3, 3, 16, 64, 64)
    whole, half = (encoder.eval()(video) for encoder in dropping)
    assert all(torch.equal(a, b) for a, b in zip(whole, half, strict=True))


def test_training_keeps_tubes_of_tokens_in_their_order(dropping):
    """The same places at all times, others for each clip."""
    half = dropping[1].train()
    numbers = torch.arange(8 * 16.0).expand(6, -1)[..., None]  # token = 16 x time + place
    kept = half._kept(numbers)[..., 0].long().unflatten(1, (8, 8))
    places = kept % 16
    assert torch.equal(kept // 16, torch.arange(8)[:, None].expand(6, 8, 8))
    assert torch.equal(places, places[:, :1].expand_as(places))
    assert (places.diff(dim=2) > 0).all()
    assert len({tuple(clip[0].tolist()) for clip in places}) > 1
    assert {*places.flatten().tolist()} == {*range(16)}, "no place is always left out"


def test_the_gradient_reaches_the_tokens_that_are_kept(dropping):
    half = dropping[1].train()
    video = torch.randn(2, 3, 16, 64, 64, requires_grad=True)
    tokens, pooled = half(video)
    assert tokens.shape == (2, 8 * 8, 32)
    pooled[:, 0].sum().backward()
    pixels = video.grad.abs().unflatten(3, (4, 16)).unflatten(5, (4, 16)).amax(dim=(1, 2, 4, 6))  # clip, row, column
    assert (pixels > 0).sum(dim=(1, 2)).tolist() == [8, 8]
    for parameter in half.patch_embedding.parameters():
        assert parameter.grad.abs().sum() > 0


def test_the_draw_of_tokens_follows_the_seed(dropping):
    half, video = dropping[1].train(), torch.randn(2, 3, 16, 64, 64)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(half(video)[1])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
