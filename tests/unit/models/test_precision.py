"""Scores are computed in float32 from the heads on, whatever autocast does to the encoders before them."""

from functools import partial

import pytest
import torch

from avdfd.baselines.vfd import Matcher
from avdfd.models.audio_encoder import AudioEncoder, AudioNet
from avdfd.models.losses import supcon
from avdfd.models.mrdf import BRANCHES, Mrdf, fake_logits
from avdfd.models.vfd import VoiceFace
from avdfd.models.vfd_losses import info_nce_in_batch
from OpenAVFF.finetuning import Head, VideoCAVMAEFT
from OpenAVFF.precision import Float32
from tests.helpers.models import small_audio_net, small_two_branch

N = 48
BF16 = torch.bfloat16


def audio_net(**options):
    if not options:
        return small_audio_net()
    return AudioNet(AudioEncoder(dim=32, depth=0, heads=2, patches="statistics", **options), projection_dim=8)


def mels(count=N):
    return torch.randn(count, 128, 768)


def both(count=N):
    return mels(count), torch.randn(count, 3, 16, 32, 32)


def vfd(year):
    networks = VoiceFace(year=year, image_size=32, dim=16, depth=1, heads=2, mlp_dim=16, out_dim=8, width=0.1,
                         mel_size=(192, 160))  # fmt: skip
    matcher = Matcher(networks)
    return matcher.networks, lambda out: {"fused": matcher.logit(matcher.networks.distance(*out))}


def mrdf(variant):
    model = Mrdf(variant=variant, encoder_layers=1, dim=32, heads=2, ffn_dim=32, width=4)
    return model, lambda out: fake_logits(out, variant)


def detector(**options):
    model = small_two_branch(**options)
    return model, lambda out: {"fused": out.logit_final, "audio": out.logit_audio, "visual": out.logit_a2v}


def stage1(**options):
    return audio_net(**options), lambda out: {"audio": out.logit}


def avff():
    model = VideoCAVMAEFT(image_size=32, audio_length=128, dim=24, encoder_depth=1, heads=2)
    return model, lambda out: {"fused": out.logits[:, 0] - out.logits[:, 1]}


def lips(count):
    return torch.randn(count, 3, 6, 48, 48), torch.randn(count, 104, 6)


CASES = {
    "stage 1": (stage1, mels),
    "stage 1, statistics": (lambda: stage1(score="trained"), mels),
    "detector": (detector, both),
    "detector, synchrony": (lambda: detector(synchrony=True), both),
    "detector, symmetric": (lambda: detector(direction="symmetric"), both),
    "AVFF": (avff, lambda count: (torch.randn(count, 128, 128), torch.randn(count, 3, 16, 32, 32))),
    **{f"MRDF {variant}": (partial(mrdf, variant), lips) for variant in BRANCHES},
    **{f"VFD {year}": (partial(vfd, year), lambda n: (torch.randn(n, 1, 192, 160), torch.randn(n, 3, 32, 32)))
       for year in (2022, 2023)},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_scores_are_float32_and_distinct_under_autocast(case):
    torch.manual_seed(0)
    build, inputs_of = CASES[case]
    model, scores = build()
    inputs = inputs_of(N)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    model.eval()
    calls = []
    for module in model.modules():
        if isinstance(module, Float32 | Head):
            module.register_forward_hook(lambda module, given, out: calls.append((module, given[0], out)))
    with torch.autocast("cpu", dtype=BF16):
        logits = scores(model(*inputs))
    for name, logit in logits.items():
        assert logit.dtype == torch.float32, name
        assert len(logit.unique()) == N, name
    for module, given, out in [*calls]:
        torch.testing.assert_close(out, module(given.float()), rtol=1e-5, atol=1e-6)


def test_a_fitted_score_is_not_rounded():
    torch.manual_seed(0)
    net = audio_net(score="fitted").eval()
    net.encoder.score.direction.normal_(std=1e-3)
    mel = mels(8)
    with torch.inference_mode():
        exact = net(mel).logit
        with torch.autocast("cpu", dtype=BF16):
            rounded = net(mel).logit
    torch.testing.assert_close(rounded, exact, rtol=1e-6, atol=1e-7)


def contrast(z):
    return info_nce_in_batch(z, z.flip(0), torch.eye(8, dtype=torch.bool))


@pytest.mark.parametrize("loss", [lambda z: supcon(z, torch.arange(8) % 4), contrast])
def test_products_of_losses_are_not_rounded(loss):
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(8, 16), dim=1)
    with torch.autocast("cpu", dtype=BF16):
        rounded = loss(z)
    torch.testing.assert_close(rounded, loss(z), rtol=0, atol=0)


def test_other_outputs_that_losses_use_are_float32():
    torch.manual_seed(0)
    model = small_two_branch(synchrony=True).train()
    with torch.autocast("cpu", dtype=BF16):
        out = model(*both(3))
        first = small_audio_net()(mels(3))
    assert all(x.dtype == torch.float32 for x in (*out, first.z, first.logit, first.feat) if x is not None)
    (out.logit_final.sum() + out.mismatch_mse.sum() + out.agreement.square().sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
