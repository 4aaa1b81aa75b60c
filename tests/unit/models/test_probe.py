import pytest
import torch
import torch.nn.functional as F

from avdfd.models.avhubert import AVHubert
from avdfd.models.avhubert_features import Features, FrozenAVHubert
from avdfd.models.probe import LinearProbe, clip_logit
from tests.helpers.avhubert import SIZES


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def probe(*streams):
    torch.manual_seed(0)
    return LinearProbe(FrozenAVHubert(AVHubert(**SIZES), streams), SIZES["dim"])


def test_equals_the_released_formula():
    """Streams side by side, video first, of length 1 each; the loss is the cross-entropy of the logits -s and s."""
    net = probe("audio", "video")
    audio, video, label = drawn(3, 7, 32), drawn(3, 7, 32, seed=1), torch.tensor([0.0, 1.0, 1.0])
    found = clip_logit(net(Features(audio=audio, video=video)))
    both = torch.cat([x / x.norm(dim=-1, keepdim=True) for x in (video, audio)], dim=-1)
    score = torch.logsumexp(both @ net.head.weight[0] + net.head.bias, dim=1)
    torch.testing.assert_close(found, 2 * score)
    expected = F.cross_entropy(torch.stack([-score, score], dim=1), label.long())
    torch.testing.assert_close(F.binary_cross_entropy_with_logits(found, label), expected)


@pytest.mark.parametrize("stream", ["audio", "video", "joint"])
def test_an_impulse_moves_exactly_its_frame_and_clip(stream):
    net, given = probe(stream), drawn(2, 7, 32)
    changed = given.clone()
    changed[1, 4] = drawn(32, seed=5)
    moved = (net(Features(**{stream: given})) - net(Features(**{stream: changed}))).abs() > 1e-6
    assert moved.nonzero().tolist() == [[1, 4]]


def test_only_the_head_gets_a_gradient():
    net = probe("audio")
    clip_logit(net((drawn(2, 1, 9, 24, 24), drawn(2, 104, 9)))).sum().backward()
    assert net.head.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.encoder.parameters())
