"""Stage 1's model."""

import pytest
import torch

from avdfd.models.audio_encoder import AudioEncoder, AudioNet
from OpenAVFF.stack import Stack


def test_default_shapes():
    out = AudioNet(AudioEncoder()).eval()(torch.randn(2, 128, 768))
    assert out.feat.shape == (2, 512)
    assert out.z.shape == (2, 256)
    assert out.logit.shape == (2,)
    assert out.tokens.shape == (2, 12, 512)
    torch.testing.assert_close(out.z.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(out.feat, out.tokens.mean(1))


def test_a_patch_is_64_consecutive_frames():
    torch.manual_seed(0)
    encoder = AudioEncoder(dim=16, depth=1, heads=2, mlp_dim=16).eval()
    encoder.encoder.layers = Stack()
    mel = torch.zeros(1, 128, 768)
    changed = mel.clone()
    changed[0, 40, 5 * 64 + 10] = 1
    difference = (encoder(changed)[1] - encoder(mel)[1]).abs().amax(-1)[0]
    assert difference.nonzero().flatten().tolist() == [5]


def test_score_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    net = AudioNet(AudioEncoder(dim=32, depth=2, heads=2, mlp_dim=32)).eval()
    mel = torch.randn(4, 128, 768)
    torch.testing.assert_close(net(mel).logit[2:3], net(mel[2:3]).logit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 1])
def test_statistics_instead_of_points(depth):
    torch.manual_seed(0)
    encoder = AudioEncoder(patches="statistics", dim=16, depth=depth, heads=2, mlp_dim=16)
    net = AudioNet(encoder, projection_dim=8)
    mel = torch.randn(4, 128, 768)
    net(mel).logit.sum().backward()
    unused = {"prototype", *(name for name, _ in net.named_parameters() if name.startswith("projection"))}
    assert {name for name, p in net.named_parameters() if p.grad is None} == unused
    out = net.eval()(mel)
    assert (out.feat.shape, out.z.shape, out.tokens.shape) == ((4, 16), (4, 8), (4, 12, 16))
    torch.testing.assert_close(out.logit[2:3], net(mel[2:3]).logit, rtol=1e-4, atol=1e-5)


def test_cached_patches_give_the_same_outputs_as_the_waveform():
    torch.manual_seed(0)
    net = AudioNet(AudioEncoder(patches="statistics", spectra=[512], dim=16, depth=0, heads=2)).eval()
    waveform = torch.randn(3, 49_152) / 10
    whole, kept = net(waveform), net(net.encoder.front(waveform))
    for ours, theirs in zip(whole, kept, strict=True):
        assert torch.equal(ours, theirs)
    assert whole.tokens.shape == (3, 12, 16)


def test_published_keys_are_those_of_points():
    published = set(AudioEncoder().state_dict())
    assert {"patch_proj.weight", "patch_proj.bias", "pos_emb"} <= published
    assert not any(key.startswith(("patch_norm", "spread_proj")) for key in published)
