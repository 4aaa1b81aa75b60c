"""Stage 2's model: branches apart, frozen parts, gradients, and scores that do not depend on the batch."""

import pytest
import torch

from avdfd.features.mel import log_mel, zscore
from avdfd.features.mouth_shape import SHAPE
from avdfd.features.window import FRAMES
from avdfd.models.consistency import LAGS
from avdfd.models.detector import Encoded
from tests.helpers.models import small_audio_net, small_detector

PARTS = 7


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return small_detector()


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return torch.randn(5, 128, 768), torch.randn(5, 3, 16, 32, 32), torch.randn(5, FRAMES, SHAPE)


def build(**options):
    torch.manual_seed(0)
    return small_detector(**options).eval()


def test_shapes(detector, clips):
    out = detector(*clips)
    assert detector.branches == ("audio", "consistency", "picture")
    assert all(x.shape == (5,) for x in (*out[:4], out.w_audio))
    assert out.logits.shape == out.log_weights.shape == (5, 3)
    torch.testing.assert_close(out.log_weights.exp().sum(1), torch.ones(5))
    torch.testing.assert_close(out.w_audio, out.log_weights[:, 0].exp())
    assert out.frames.shape == (5, FRAMES)
    assert out.agreement.shape == (5, 2 * LAGS + 1)
    assert out.logit_moved.shape == (5, PARTS)
    assert detector.eval()(*clips).logit_moved is None


def test_logits_are_in_the_order_of_the_branches(detector, clips):
    out = detector.eval()(*clips)
    for number, branch in enumerate(detector.branches):
        assert torch.equal(out.logits[:, number], getattr(out, f"logit_{branch}"))


def test_the_fused_probability_is_the_weighted_mean(detector, clips):
    out = detector.eval()(*clips)
    mean = (out.log_weights.exp() * out.logits.sigmoid()).sum(1)
    torch.testing.assert_close(out.logit_final.sigmoid(), mean)


def test_a_score_does_not_depend_on_the_batch(detector, clips):
    detector.eval()
    whole = detector(*clips)
    order = [3, 0, 4]
    part = detector(*(x[order] for x in clips))
    for a, b in zip(whole[:7], part[:7], strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=1e-5)


def test_encoded_clips_score_as_clips(detector, clips):
    detector.eval()
    encoded = detector.encode(*clips)
    assert isinstance(encoded, detector.encoded)
    torch.testing.assert_close(detector(encoded).logit_final, detector(*clips).logit_final, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("given", "changed"),
    [(0, {"logit_audio", "logit_consistency"}), (1, {"logit_picture"}), (2, {"logit_consistency"})],
)
def test_each_branch_takes_its_own_inputs(detector, clips, given, changed):
    detector.eval()
    other = [x if n != given else torch.randn_like(x) for n, x in enumerate(clips)]
    before, after = detector(*clips), detector(*other)
    pairs = zip(detector.branches, before.logits.T, after.logits.T, strict=True)
    moved = {f"logit_{name}" for name, ours, theirs in pairs if not torch.allclose(ours, theirs)}
    assert moved == changed


def test_audio_and_predictor_are_frozen(detector, clips):
    detector.train()
    assert not detector.audio_encoder.training
    detector(*clips).logits.sum().backward()
    frozen = {n for n, p in detector.named_parameters() if not p.requires_grad}
    of_frozen = ("audio_encoder.", "audio_head.", "consistency.")
    assert frozen == {n for n, _ in detector.named_parameters() if n.startswith(of_frozen)}
    assert all(
        (p.grad is None) == (n in frozen or n.startswith("fusion.")) for n, p in detector.named_parameters()
    )  # the fusion is after the branches


def test_the_loss_of_the_fusion_reaches_no_branch(detector, clips):
    detector.train()
    detector(*clips).logit_final.sum().backward()
    assert {n for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()} == {
        n for n, _ in detector.named_parameters() if n.startswith("fusion.")
    }


def test_trained_parts_have_gradients(clips):
    detector = build(audio_trained=True, consistency_trained=True).train()
    out = detector(*clips)
    (out.logits.sum() + out.logit_final + out.logit_moved.sum()).sum().backward()
    assert all(p.grad is not None for p in detector.parameters())
    assert detector.consistency.predictor.weight.grad.abs().sum() > 0
    assert not detector.consistency.shape_basis.requires_grad


def test_a_waveform_is_compared_by_its_mel(clips):
    """An audio branch that takes the waveform leaves the mel to be computed."""
    detector = build()
    detector.audio_encoder.forward = lambda audio: (torch.zeros(len(audio), 32), torch.zeros(len(audio), 12, 32))
    waveform = torch.rand(2, 49152) - 0.5
    video, shape = (x[:2] for x in clips[1:])
    ours, theirs = detector(waveform, video, shape), detector(zscore(log_mel(waveform)), video, shape)
    torch.testing.assert_close(ours.agreement, theirs.agreement)


def test_head_and_encoder_come_from_stage_1(detector, clips):
    stage1 = small_audio_net().eval()
    detector.eval().load_audio(stage1)
    torch.testing.assert_close(detector(*clips).logit_audio, stage1(clips[0]).logit)


def test_deaf(clips):
    detector = build(deaf=True)
    other = torch.randn_like(clips[0])
    ours, theirs = (detector(mel, *clips[1:]).logit_consistency for mel in (clips[0], other))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("fusion", ["learned", "fixed"])
@pytest.mark.parametrize(("branch", "changed"), [("consistency", 2), ("picture", 1)])
def test_a_branch_that_is_left_out_has_no_weight_and_no_say(clips, branch, changed, fusion):
    detector = build(without=branch, fusion=fusion)
    other = [torch.randn_like(clip) if place == changed else clip for place, clip in enumerate(clips)]
    ours, theirs = detector(*clips), detector(*other)
    assert (ours.log_weights[:, detector.branches.index(branch)].exp() == 0).all()
    torch.testing.assert_close(ours.log_weights.exp().sum(1), torch.ones(5))
    assert not torch.allclose(getattr(ours, f"logit_{branch}"), getattr(theirs, f"logit_{branch}"))
    torch.testing.assert_close(ours.logit_final, theirs.logit_final, rtol=0, atol=0)


def test_training_without_a_branch_has_finite_gradients(clips):
    detector = build(without="consistency").train()
    out = detector(*clips)
    (out.logit_final.sum() + out.log_weights[:, 1:].logsumexp(1).sum()).backward()
    assert all(p.grad.isfinite().all() for p in detector.fusion.parameters())


def test_visual_fusion_has_no_audio_branch(clips):
    out = build(fusion="visual")(*clips)
    assert (out.w_audio == 0).all()
    torch.testing.assert_close(out.log_weights[:, 1:].exp(), torch.full((5, 2), 0.5))


def test_an_impulse_in_the_audio_moves_the_frames_around_it(detector, clips):
    """1.2 s in, frame 30: 0.24 s around it in the prediction."""
    mel, video, shape = clips
    changed = mel.clone()
    changed[..., 300:305] += 1
    ours, theirs = (detector.encode(x, video, shape).said for x in (mel, changed))
    differs = (ours - theirs).abs().amax(dim=(0, 2)) > 1e-5
    assert differs.nonzero().flatten().tolist() == list(range(24, 37))


def test_out_of_sync_audio_shows_as_a_lag(detector):
    movement = torch.randn(2, FRAMES + 10, 4)
    late = Encoded(torch.zeros(2, 24), torch.zeros(2), said=movement[:, :FRAMES], shown=movement[:, 10:])
    assert (detector.eval()(late).agreement.argmax(dim=1) - LAGS).tolist() == [10, 10]
