"""AVFF's second stage: scores, and the weights loaded from the first."""

import pytest
import torch
import torch.nn.functional as F

from OpenAVFF.adversarial import AdversarialPretraining
from OpenAVFF.finetuning import VideoCAVMAEFT, finetune_weights
from OpenAVFF.pretraining import VideoCAVMAE
from tests.helpers.small_avff import DECODER, SIZES, clips

FRESH = ("a2v.mlp.", "v2a.mlp.", "mlp_vision.", "mlp_audio.", "mlp_head.")


def build(**choices):
    torch.manual_seed(0)
    return VideoCAVMAEFT(**SIZES, **choices)


@pytest.fixture(scope="module")
def pretrained():
    torch.manual_seed(1)
    return VideoCAVMAE(**SIZES, **DECODER).state_dict()


@torch.inference_mode()
def test_a_score_does_not_depend_on_the_batch():
    model = build().eval()
    audio, video = clips(4)
    logits = model(audio, video).logits
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(audio[order], video[order]).logits, logits[order], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model(audio[:1], video[:1]).logits, logits[:1], atol=1e-6, rtol=1e-5)
    others = [torch.cat([mine[:1], mates[1:]]) for mine, mates in zip((audio, video), clips(4, seed=1), strict=True)]
    torch.testing.assert_close(model(*others).logits[:1], logits[:1], atol=1e-6, rtol=1e-5)
    assert (logits[1:] - logits[:1]).abs().max() > 1e-4  # and it does depend on the sample


@torch.inference_mode()
def test_a_released_score_depends_on_the_batch():
    model = build(faithful=True).eval()
    # A new LayerNorm has zero mean over channels, so the head's input would be zero.
    for network in (model.a2v, model.v2a):
        torch.nn.init.normal_(network.transformer.norm2.weight)
    audio, video = clips(4)
    assert (model(audio[:1], video[:1]).logits - model(audio, video).logits[:1]).abs().max() > 1e-4


@pytest.mark.parametrize("faithful", [False, True])
def test_every_parameter_gets_a_gradient(faithful):
    model = build(faithful=faithful)
    # Avoids the zero input of the released head, see above.
    for norm in (model.audio_encoder.norm, model.visual_encoder.norm):
        torch.nn.init.normal_(norm.weight)
    F.binary_cross_entropy_with_logits(model(*clips(3)).logits, torch.tensor([[1.0, 0], [0, 1], [1, 0]])).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_few_steps_learn_which_modalities_match():
    """The default head detects whether both modalities carry the same signal, which neither alone shows."""
    torch.manual_seed(0)
    model = build()
    model.mlp_head.dropout.p = 0.0
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        sign = torch.randint(2, (2, 32)) * 2.0 - 1
        audio, video = torch.randn(32, 256, 128) / 4 + sign[0, :, None, None], torch.randn(32, 3, 8, 32, 32) / 4
        logits = model(audio, video + sign[1, :, None, None, None, None]).logits
        fake = (sign[0] != sign[1]).float()
        loss = F.binary_cross_entropy_with_logits(logits, torch.stack([fake, 1 - fake], dim=-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@torch.inference_mode()
def test_the_head_depends_on_the_pairing_of_tokens_and_predictions():
    """The same predictions in another order have the same mean but give other features."""
    model = build().eval()
    predicted, tokens = torch.randn(2, 16, 24), torch.randn(2, 16, 24)
    paired, shuffled = (torch.cat([p, tokens], dim=-1) for p in (predicted, predicted.roll(1, dims=1)))
    features = model.summary(model.mlp_vision, paired)
    assert features.shape == (2, 32)
    assert (model.summary(model.mlp_vision, shuffled) - features).abs().max() > 1e-2


def test_finetuning_loads_encoders_and_fusion_transformers(pretrained):
    weights = finetune_weights(pretrained)
    dropped = pretrained.keys() - weights.keys()
    assert {".".join(key.split(".")[: 1 if "decoder" in key else 2]) for key in dropped} == {
        "audio_decoder", "visual_decoder", "a2v.mlp", "v2a.mlp",
    }  # fmt: skip
    model = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_pretrained(pretrained)
    after = model.state_dict()
    assert {key for key in after if not key.startswith(FRESH)} == weights.keys()
    for key, value in after.items():
        assert torch.equal(value, before[key] if key.startswith(FRESH) else pretrained[key]), key


def test_finetuning_loads_from_adversarial_pretraining():
    torch.manual_seed(1)
    stage = AdversarialPretraining(VideoCAVMAE(**SIZES, **DECODER), width=4)
    weights = finetune_weights(stage.state_dict())
    assert weights.keys() == finetune_weights(stage.model.state_dict()).keys()
    build().load_pretrained(stage.state_dict())


def test_keys_that_do_not_fit_are_named(pretrained):
    model = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    short = {key: value for key, value in pretrained.items() if key != "audio_encoder.norm.bias"}
    with pytest.raises(ValueError, match=r"missing: audio_encoder\.norm\.bias$"):
        model.load_pretrained(short)
    wrong = {**pretrained, "stray": torch.zeros(1), "a2v.transformer.fc1.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"unexpected: stray; of another shape: a2v\.transformer\.fc1\.bias$"):
        model.load_pretrained(wrong)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_new_parameters():
    layers = {"a2v.mlp.linear", "v2a.mlp.linear", "mlp_vision", "mlp_audio", "mlp_head.fc1", "mlp_head.fc2"}
    faithful = build(faithful=True).new_parameters()
    assert sorted(faithful) == sorted(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))
    assert set(build().new_parameters()) - set(faithful) == {"mlp_head.fc3.weight", "mlp_head.fc3.bias"}
