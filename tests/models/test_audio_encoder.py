"""Stage 1's model."""

import torch

from avdfd.config import AudioModelConfig
from avdfd.models.audio_encoder import AudioNet
from OpenAVFF.stack import Stack


def test_default_shapes():
    out = AudioNet(AudioModelConfig()).eval()(torch.randn(2, 128, 768))
    assert out.feat.shape == (2, 512)
    assert out.z.shape == (2, 256)
    assert out.logit.shape == (2,)
    assert out.tokens.shape == (2, 12, 512)
    torch.testing.assert_close(out.z.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(out.feat, out.tokens.mean(1))


def test_a_patch_is_64_consecutive_frames():
    torch.manual_seed(0)
    encoder = AudioNet(AudioModelConfig(dim=16, depth=1, heads=2, mlp_dim=16)).encoder.eval()
    encoder.encoder.layers = Stack()
    mel = torch.zeros(1, 128, 768)
    changed = mel.clone()
    changed[0, 40, 5 * 64 + 10] = 1
    difference = (encoder(changed)[1] - encoder(mel)[1]).abs().amax(-1)[0]
    assert difference.nonzero().flatten().tolist() == [5]


def test_score_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    net = AudioNet(AudioModelConfig(dim=32, depth=2, heads=2, mlp_dim=32)).eval()
    mel = torch.randn(4, 128, 768)
    torch.testing.assert_close(net(mel).logit[2:3], net(mel[2:3]).logit, rtol=1e-4, atol=1e-5)
