"""Stage 2's model: frozen branches, gradients, and scores that do not depend on the batch."""

import pytest
import torch

from avdfd.features.frames import normalise
from avdfd.models.audio_encoder import AudioEncoder, audio_head
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.models.visual_encoder import VisualBranch
from tests.helpers.models import small_audio_net, small_two_branch


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return small_two_branch()


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return torch.randn(5, 128, 768), torch.randn(5, 3, 16, 32, 32)


def test_shapes(detector, clips):
    out = detector(*clips)
    assert all(x.shape == (5,) for x in (*out[:4], out.w_audio))
    assert out.discrepancy.shape == (5, 8 * 2 * 2)
    torch.testing.assert_close(out.mismatch_mse, out.discrepancy.mean(1))
    assert ((out.w_audio > 0) & (out.w_audio < 1)).all()


def test_a_score_does_not_depend_on_the_batch(detector, clips):
    mel, video = clips
    detector.eval()
    whole = detector(mel, video)
    order = [3, 0, 4]
    part = detector(mel[order], video[order])
    for a, b in zip(whole[:6], part[:6], strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=1e-5)


def test_the_audio_branch_is_frozen(detector, clips):
    detector.train()
    assert not detector.audio_encoder.training
    first, second = detector(*clips), detector(*clips)
    torch.testing.assert_close(first.logit_audio, second.logit_audio)
    first.logit_final.sum().backward()
    frozen = {n for n, p in detector.named_parameters() if p.grad is None}
    assert frozen == {n for n, _ in detector.named_parameters() if n.startswith(("audio_encoder.", "audio_head."))}


def test_a_trained_audio_branch_has_gradients_and_dropout(clips):
    torch.manual_seed(0)
    detector = small_two_branch(audio_trained=True).train()
    first, second = detector(*clips), detector(*clips)
    assert not torch.equal(first.logit_audio, second.logit_audio)
    first.logit_final.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.audio_encoder.parameters())
    assert all(p.grad is not None for p in detector.parameters())
    detector.eval()
    torch.testing.assert_close(detector(*clips).logit_audio, detector(*clips).logit_audio, rtol=0, atol=0)


def test_a_trained_audio_branch_keeps_the_batch_statistics_of_stage_1():
    encoder = AudioEncoder(patches="statistics", dim=32, depth=0)
    visual = VisualBranch(encoder.dim, image_size=32, dim=24, depth=1, heads=2)
    detector = TwoBranchDetector(encoder, audio_head(encoder), visual, audio_trained=True).train()
    before = encoder.patch_norm.running_mean.clone()
    detector(torch.randn(3, 128, 768), torch.randn(3, 3, 16, 32, 32))
    assert encoder.patch_drop.training
    assert torch.equal(encoder.patch_norm.running_mean, before)


def test_faithful_keeps_dropout_on_in_the_frozen_audio_branch(clips):
    detector = small_two_branch(faithful=True).train()
    first, second = detector(*clips), detector(*clips)
    assert not torch.equal(first.logit_audio, second.logit_audio)
    assert not first.logit_audio.requires_grad


def test_the_backbone_runs_once_per_step(detector, clips):
    calls = []
    detector.visual_encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    detector(*clips)
    assert len(calls) == 1


def test_head_and_encoder_come_from_stage1(detector, clips):
    stage1 = small_audio_net().eval()
    detector.eval()
    before = detector(*clips).logit_audio
    detector.load_audio(stage1, with_head=False)
    headless = detector(*clips).logit_audio
    detector.load_audio(stage1)
    loaded = detector(*clips).logit_audio
    torch.testing.assert_close(loaded, stage1(clips[0]).logit)
    assert not torch.allclose(headless, loaded)
    assert not torch.allclose(before, headless)


def test_evidence_is_the_largest_magnitude_of_the_difference_and_the_anchor(detector, clips):
    given = {}
    detector.predictor.register_forward_hook(lambda _, __, out: given.update(predicted=out))
    detector.a2v_head.register_forward_pre_hook(lambda _, inputs: given.update(evidence=inputs[0]))
    detector.eval()
    mel, video = clips
    with torch.no_grad():
        encoded = detector.encode(mel, video)
        detector.compare_and_fuse(encoded)
        visual, anchor = (detector.visual_encoder.proj(x) for x in (encoded.tokens, encoded.pooled))
    difference = given["predicted"] - visual
    largest = torch.maximum(difference.amax(dim=1), -difference.amin(dim=1))
    torch.testing.assert_close(given["evidence"], torch.cat([largest, anchor], dim=-1))


def test_evidence_depends_on_time_order(detector, clips):
    """Reversing the video under the same audio changes the mismatch: predictions are aligned in time."""
    mel, video = clips
    detector.eval()
    assert not torch.allclose(detector(mel, video).mismatch_mse, detector(mel, video.flip(2)).mismatch_mse)


@pytest.mark.parametrize("normalisation", ["unit", "imagenet"])
def test_the_backbone_is_given_frames_as_its_weights_were_trained(detector, normalisation):
    detector.visual_encoder.normalisation = normalisation
    given = []
    detector.visual_encoder.backbone.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    video = torch.randint(0, 256, (2, 3, 16, 32, 32), dtype=torch.uint8)
    detector(torch.randn(2, 128, 768), video)
    detector(torch.randn(2, 128, 768), normalise(video, normalisation))
    torch.testing.assert_close(given[0], normalise(video, normalisation))
    torch.testing.assert_close(given[1], given[0])


# ---- options of the ablations


def build(**options):
    torch.manual_seed(0)
    return small_two_branch(**options).eval()


def perturbed(clips):
    """Encoded clips, and the same with other visual tokens under the same anchor."""
    encoded = build().encode(*clips)
    return encoded, encoded._replace(tokens=encoded.tokens + torch.randn_like(encoded.tokens))


def test_the_published_model_is_the_default(detector):
    assert build(direction="a2v", fusion="learned").state_dict().keys() == detector.state_dict().keys()
    assert "audio_predictor" not in " ".join(detector.state_dict())


@pytest.mark.parametrize("direction", ["v2a", "symmetric"])
@pytest.mark.parametrize("fusion", ["learned", "fixed", "visual"])
def test_other_directions(direction, fusion, clips):
    detector = build(direction=direction, fusion=fusion).train()
    out = detector(*clips)
    assert all(x.shape == (5,) for x in (*out[:4], out.w_audio))
    assert out.discrepancy.shape == (5, 8 * 2 * 2)
    (out.logit_final + out.mismatch_mse).sum().backward()
    frozen = {n for n, p in detector.named_parameters() if p.grad is None}
    assert frozen == {n for n, _ in detector.named_parameters() if n.startswith(("audio_encoder.", "audio_head."))}


def test_v2a_predicts_from_the_video_and_a2v_from_the_audio(clips):
    before, after = perturbed(clips)
    audio = after._replace(audio_tokens=before.audio_tokens + torch.randn_like(before.audio_tokens))

    def predictions(detector, name, seen):
        caught = []
        handle = getattr(detector, name).register_forward_hook(lambda *call: caught.append(call[-1]))
        out = detector(seen)
        handle.remove()
        return caught[0], out

    a2v, v2a = build(), build(direction="v2a")
    (first, _), (second, _) = (predictions(a2v, "predictor", seen) for seen in (before, after))
    assert first.shape == (5, 32, 32)
    torch.testing.assert_close(first, second)
    (first, out), (second, _), (third, _) = (
        predictions(v2a, "audio_predictor", seen) for seen in (before, after, audio)
    )
    assert first.shape == (5, 12, 32)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(second, third)

    difference = (first - before.audio_tokens).square().mean(-1)
    torch.testing.assert_close(out.mismatch_mse, difference.mean(1))
    over_the_face = out.discrepancy.unflatten(1, (8, 4))
    assert (over_the_face == over_the_face[..., :1]).all(), "audio has no place"
    torch.testing.assert_close(over_the_face[:, 0, 0], difference[:, :2].mean(1))
    torch.testing.assert_close(over_the_face[:, 7, 0], difference[:, 10:].mean(1))


def test_symmetric_averages_the_mismatch_of_both_directions(clips):
    both, one, other = build(direction="symmetric"), build(), build(direction="v2a")
    for alone in (one, other):
        alone.load_state_dict({k: both.state_dict().get(k) if "predictor" in k or "visual" in k or "audio_e" in k else v
                               for k, v in alone.state_dict().items()})  # fmt: skip
    outs = [detector(*clips) for detector in (both, one, other)]
    torch.testing.assert_close(outs[0].mismatch_mse, (outs[1].mismatch_mse + outs[2].mismatch_mse) / 2)
    torch.testing.assert_close(outs[0].discrepancy, outs[1].discrepancy)
    assert both.a2v_head[0].in_features == 3 * 32


def evidence(detector, encoded):
    """Return what the head of the visual branch is given."""
    caught = []
    handle = detector.a2v_head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    out = detector(encoded)
    handle.remove()
    return caught[0], out


@pytest.mark.parametrize("direction", ["a2v", "v2a", "symmetric"])
def test_every_direction_has_the_visual_anchor_as_its_only_one(direction, clips):
    detector = build(direction=direction)
    encoded = detector.encode(*clips)
    given, _ = evidence(detector, encoded)
    torch.testing.assert_close(given[:, -32:], detector.visual_encoder.proj(encoded.pooled))
    other = encoded._replace(audio=torch.randn_like(encoded.audio))
    if direction == "a2v":
        torch.testing.assert_close(evidence(detector, other)[0], given)
    else:  # the clip feature is the predictor's anchor
        torch.testing.assert_close(evidence(detector, other)[0][:, -32:], given[:, -32:])


@pytest.mark.parametrize(("direction", "places"), [("v2a", [1]), ("symmetric", [3])])
def test_own_anchors_put_the_clip_feature_into_the_evidence(direction, places, clips):
    """As runs of these directions had it before there was a choice."""
    detector = build(direction=direction, anchors="own")
    encoded = detector.encode(*clips)
    parts = evidence(detector, encoded)[0].split(32, dim=1)
    assert len(parts) == (4 if direction == "symmetric" else 2)
    for place in places:
        torch.testing.assert_close(parts[place], encoded.audio)
    if direction == "symmetric":
        torch.testing.assert_close(parts[1], detector.visual_encoder.proj(encoded.pooled))


def test_a_deaf_predictor_does_not_depend_on_the_audio(clips):
    deaf, usual = build(predictor_zeros=True), build()
    encoded = deaf.encode(*clips)
    other = encoded._replace(audio_tokens=torch.randn_like(encoded.audio_tokens))
    torch.testing.assert_close(deaf(encoded).logit_a2v, deaf(other).logit_a2v, rtol=0, atol=0)
    torch.testing.assert_close(deaf(encoded).discrepancy, deaf(other).discrepancy, rtol=0, atol=0)
    assert not torch.allclose(usual(encoded).logit_a2v, usual(other).logit_a2v)
    assert deaf.state_dict().keys() == usual.state_dict().keys()


def test_a_predictor_of_audio_can_be_given_zeros_too(clips):
    blind = build(direction="v2a", predictor_zeros=True)
    before, after = perturbed(clips)
    torch.testing.assert_close(blind(before).logit_a2v, blind(after).logit_a2v, rtol=0, atol=0)


@pytest.mark.parametrize("direction", ["a2v", "v2a", "symmetric"])
def test_without_the_discrepancy_the_evidence_is_the_anchor(direction, clips):
    detector = build(direction=direction, discrepancy=False)
    before, after = perturbed(clips)
    given, out = evidence(detector, before)
    torch.testing.assert_close(given, detector.visual_encoder.proj(before.pooled))
    torch.testing.assert_close(out.logit_a2v, detector(after).logit_a2v, rtol=0, atol=0)
    assert not torch.allclose(out.mismatch_mse, detector(after).mismatch_mse), "which is still trained"


@pytest.mark.parametrize("direction", ["a2v", "v2a", "symmetric"])
def test_decide_needs_only_the_encoded_clip(direction, clips):
    """The cache of a frozen backbone therefore serves every direction."""
    detector = build(direction=direction)
    for a, b in zip(detector(*clips), detector(detector.encode(*clips)), strict=True):
        torch.testing.assert_close(a, b)


def test_fixed_fusions_ignore_or_average_the_audio_branch(clips):
    detector = build(fusion="visual")
    out = detector(*clips)
    torch.testing.assert_close(out.logit_final, out.logit_a2v)
    assert (out.w_audio == 0).all()
    out = build(fusion="fixed")(*clips)
    torch.testing.assert_close(out.logit_final.sigmoid(), (out.logit_a2v.sigmoid() + out.logit_audio.sigmoid()) / 2)
