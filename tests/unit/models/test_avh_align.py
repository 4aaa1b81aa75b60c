"""AVH-Align's head, loss and score against the released formulas in plain torch functions."""

import math

import pytest
import torch
import torch.nn.functional as F

from avdfd.core.errors import UserError
from avdfd.models.avh_align import AlignmentHead, AvhAlign, alignment_loss, misalignment
from avdfd.models.avhubert import AVHubert
from avdfd.models.avhubert_features import Features, FrozenAVHubert
from avdfd.training.state_dicts import fill
from tests.helpers.avhubert import SIZES

RELEASED = {
    "visual_proj": (512, 1024),
    "audio_proj": (512, 1024),
    "mlp.0": (512, 1024),
    "mlp.1": (512,),
    "mlp.3": (256, 512),
    "mlp.4": (256,),
    "mlp.6": (128, 256),
    "mlp.7": (128,),
    "mlp.9": (1, 128),
}


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights():
    """Draw weights under the released keys."""
    made = {}
    for seed, (name, shape) in enumerate(RELEASED.items()):
        scale = shape[1] ** -0.5 if len(shape) > 1 else 1.0
        made[f"{name}.weight"] = scale * drawn(*shape, seed=seed)
        made[f"{name}.bias"] = 0.1 * drawn(shape[0], seed=100 + seed)
    return made


def released(w, video, audio):
    """Features (..., 1024) -> (...,)."""
    x = torch.cat(
        [F.linear(x, w[f"{n}.weight"], w[f"{n}.bias"]) for n, x in (("visual_proj", video), ("audio_proj", audio))], -1
    )
    for layer in (0, 3, 6):
        x = F.linear(x, w[f"mlp.{layer}.weight"], w[f"mlp.{layer}.bias"])
        x = F.layer_norm(x, x.shape[-1:], w[f"mlp.{layer + 1}.weight"], w[f"mlp.{layer + 1}.bias"]).relu()
    return F.linear(x, w["mlp.9.weight"], w["mlp.9.bias"])[..., 0]


def model(reach=15):
    head = AlignmentHead()
    fill(head, weights(), "drawn")
    return AvhAlign(FrozenAVHubert(AVHubert(**SIZES), ["audio", "video"]), head, reach=reach)


def features(clips=2, steps=8):
    return Features(audio=drawn(clips, steps, 1024), video=drawn(clips, steps, 1024, seed=1))


def test_head_has_the_released_keys():
    fill(AlignmentHead(), weights(), "drawn")
    with pytest.raises(UserError, match="other shapes"):
        fill(AlignmentHead(width=512), weights(), "drawn")


def test_score_equals_the_released_one():
    given, w = features(), weights()
    found = misalignment(model()(given))[1]
    for clip in range(2):
        video, audio = (x[clip] / x[clip].norm(dim=1, keepdim=True) for x in (given.video, given.audio))
        output = released(w, video, audio)
        torch.testing.assert_close(found[clip], (-output).exp().sum().log() - math.log(8))
        torch.testing.assert_close(misalignment(output[None])[0][0], -output.mean())


def test_loss_equals_the_released_one():
    """Each frame of video against a window of audio, with zeros, which are not normalised, beyond the clip."""
    given, w, reach = features(), weights(), 3
    found = alignment_loss(model(reach)(given, lags=True))
    for clip in range(2):
        losses = []
        for t in range(8):
            video = given.video[clip, t] / given.video[clip, t].norm()
            window = []
            for s in range(t - reach, t + reach + 1):
                inside = 0 <= s < 8
                window.append(given.audio[clip, s] / given.audio[clip, s].norm() if inside else torch.zeros(1024))
            outputs = released(w, video.repeat(2 * reach + 1, 1), torch.stack(window))
            losses.append(-outputs.log_softmax(dim=0)[reach])
        torch.testing.assert_close(found[clip], torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)


def test_clips_do_not_depend_on_the_batch():
    given, net = features(clips=3), model()
    for lags in (False, True):
        together = net(given, lags=lags)
        for clip in range(3):
            alone = net(Features(*(None if x is None else x[clip : clip + 1] for x in given)), lags=lags)
            torch.testing.assert_close(together[clip], alone[0])


def test_an_impulse_in_the_audio_moves_exactly_its_frame():
    given, net = features(clips=1), model(reach=2)
    changed = given._replace(audio=given.audio.clone())
    changed.audio[0, 5] = drawn(1024, seed=9)
    assert (net(given) - net(changed)).abs().gt(1e-6)[0].nonzero().flatten().tolist() == [5]
    moved = (net(given, lags=True) - net(changed, lags=True)).abs().gt(1e-6)[0]
    assert sorted(map(tuple, moved.nonzero().tolist())) == [(3, 4), (4, 3), (5, 2), (6, 1), (7, 0)]


def test_training_tells_the_moment():
    """Video that is a fixed map of the audio is aligned after some steps, and audio a frame late is not."""
    torch.manual_seed(0)
    net = AvhAlign(FrozenAVHubert(AVHubert(**SIZES), ["audio", "video"]), AlignmentHead(dim=16, width=32), reach=2)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=1e-2)
    turn = torch.linalg.qr(drawn(16, 16)).Q
    for step in range(50):
        audio = drawn(8, 12, 16, seed=step)
        loss = alignment_loss(net(Features(audio=audio, video=audio @ turn), lags=True)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.head.parameters())
    assert all(parameter.grad is None for parameter in net.encoder.parameters())
    audio = drawn(20, 12, 16, seed=999)
    in_sync, late = (misalignment(net(Features(audio=x, video=audio @ turn)))[1] for x in (audio, audio.roll(1, 1)))
    assert (late > in_sync).all()
