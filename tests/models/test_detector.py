"""Stage 2's model: what is frozen, what flows, and that a clip's score is its own."""

import pytest
import torch

from avdfd.config import AudioModelConfig, PredictorConfig, VisualModelConfig
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector

AUDIO = AudioModelConfig(dim=32, depth=1, heads=2, mlp_dim=32, projection_dim=8)
VISUAL = VisualModelConfig(init="random", image_size=32, dim=24, depth=1, heads=2)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return Detector(AUDIO, VISUAL, PredictorConfig(depth=1, heads=2))


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return torch.randn(5, 128, 768), torch.randn(5, 3, 16, 32, 32)


def test_shapes(detector, clips):
    out = detector(*clips)
    assert all(x.shape == (5,) for x in out[:5])
    assert out.discrepancy.shape == (5, 8 * 2 * 2)
    torch.testing.assert_close(out.mismatch_mse, out.discrepancy.mean(1))
    assert ((out.w_audio > 0) & (out.w_audio < 1)).all()


def test_a_score_does_not_depend_on_the_batch(detector, clips):
    mel, video = clips
    detector.eval()
    whole = detector(mel, video)
    order = [3, 0, 4]
    part = detector(mel[order], video[order])
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=1e-5)


def test_the_audio_branch_is_frozen(detector, clips):
    detector.train()
    assert not detector.audio_encoder.training
    first, second = detector(*clips), detector(*clips)
    torch.testing.assert_close(first.logit_audio, second.logit_audio)
    first.logit_final.sum().backward()
    frozen = {n for n, p in detector.named_parameters() if p.grad is None}
    assert frozen == {n for n, _ in detector.named_parameters() if n.startswith(("audio_encoder.", "audio_head."))}


def test_the_backbone_runs_once_per_step(detector, clips):
    calls = []
    detector.visual_encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    detector(*clips)
    assert len(calls) == 1


def test_head_and_encoder_come_from_stage1(detector, clips):
    stage1 = AudioNet(AUDIO).eval()
    detector.eval()
    before = detector(*clips).logit_audio
    detector.load_audio(stage1, with_head=False)
    headless = detector(*clips).logit_audio
    detector.load_audio(stage1)
    loaded = detector(*clips).logit_audio
    torch.testing.assert_close(loaded, stage1(clips[0]).logit)
    assert not torch.allclose(headless, loaded)
    assert not torch.allclose(before, headless)


def test_evidence_reacts_to_time_order(detector, clips):
    """Playing the video backwards against the same audio changes the mismatch: predictions have their moment."""
    mel, video = clips
    detector.eval()
    assert not torch.allclose(detector(mel, video).mismatch_mse, detector(mel, video.flip(2)).mismatch_mse)
