"""Passes of AV-HuBERT on one stream against a computation from the released description in plain torch functions."""

import math

import pytest
import torch
import torch.nn.functional as F

from avdfd.core.errors import UserError
from avdfd.models.avhubert import AVHubert, from_fairseq
from avdfd.models.avhubert_features import FrozenAVHubert
from avdfd.training.state_dicts import fill
from tests.helpers.avhubert import SIZES, drawn_weights, released_layout

LARGE = {"encoder_layers": 24, "dim": 1024, "heads": 16, "ffn_dim": 4096}


def frozen(streams=("audio", "video", "joint"), layer=None, seed=0, **sizes):
    model = AVHubert(**{**SIZES, **sizes})
    fill(model, from_fairseq(drawn_weights(seed=seed, **sizes)), "drawn")
    return FrozenAVHubert(model, streams, layer=layer)


def inputs(clips=2, steps=9, side=24):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(clips, 1, steps, side, side, generator=generator), torch.randn(
        clips, 104, steps, generator=generator
    )


# ---- the reference: one clip at a time, from the released keys


def norm(x, w, name):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def batch_norm(x, w, name):
    shape = (-1, *[1] * (x.ndim - 2))
    mean, variance, scale, shift = (
        w[f"{name}.{key}"].view(shape) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def prelu(x, w, name):
    slope = w[f"{name}.weight"].view(-1, *[1] * (x.ndim - 2))
    return torch.where(x > 0, x, slope * x)


def lips(video, w):
    """(T, H, W) -> (T, D)."""
    at = "feature_extractor_video.resnet"
    x = F.conv3d(video[None, None], w[f"{at}.frontend3D.0.weight"], stride=(1, 2, 2), padding=(2, 3, 3))
    x = prelu(batch_norm(x, w, f"{at}.frontend3D.1"), w, f"{at}.frontend3D.2")
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))[0].transpose(0, 1)  # frames come first
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"{at}.trunk.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            short = x
            if f"{name}.downsample.0.weight" in w:
                short = batch_norm(
                    F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride), w, f"{name}.downsample.1"
                )
            y = F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = prelu(batch_norm(y, w, f"{name}.bn1"), w, f"{name}.relu1")
            y = batch_norm(F.conv2d(y, w[f"{name}.conv2.weight"], padding=1), w, f"{name}.bn2")
            x = prelu(y + short, w, f"{name}.relu2")
    return linear(x.mean(dim=(2, 3)), w, "feature_extractor_video.proj")


def attention(x, w, name, heads):
    steps, dim = x.shape
    q, k, v = (linear(x, w, f"{name}.{part}_proj").view(steps, heads, -1).transpose(0, 1) for part in "qkv")
    weights = (q @ k.transpose(1, 2) / math.sqrt(dim // heads)).softmax(dim=-1)
    return linear((weights @ v).transpose(0, 1).reshape(steps, dim), w, f"{name}.out_proj")


def reference(video, audio, w, heads, layers, final_norm=True):
    """(T, H, W) or None, (104, T) or None -> (T, D), as `extract_finetune` of the release describes it."""
    parts = [
        None if audio is None else linear(audio.T, w, "feature_extractor_audio.proj"),
        None if video is None else lips(video, w),
    ]
    there = next(part for part in parts if part is not None)
    x = torch.cat([torch.zeros_like(there) if part is None else part for part in parts], dim=1)
    x = linear(norm(x, w, "layer_norm"), w, "post_extract_proj")
    v, g = w["encoder.pos_conv.0.weight_v"], w["encoder.pos_conv.0.weight_g"]
    kernel = g * v / v.pow(2).sum(dim=(0, 1), keepdim=True).sqrt()
    around = F.conv1d(x.T[None], kernel, w["encoder.pos_conv.0.bias"], padding=64, groups=16)[0, :, :-1].T
    x = x + F.gelu(around)
    for number in range(layers):
        name = f"encoder.layers.{number}"
        x = x + attention(norm(x, w, f"{name}.self_attn_layer_norm"), w, f"{name}.self_attn", heads)
        x = x + linear(F.gelu(linear(norm(x, w, f"{name}.final_layer_norm"), w, f"{name}.fc1")), w, f"{name}.fc2")
    return norm(x, w, "encoder.layer_norm") if final_norm else x


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_equals_the_release(layer):
    weights, (video, audio) = drawn_weights(), inputs()
    found = frozen(layer=layer)((video, audio))
    given = {"audio": (False, True), "video": (True, False), "joint": (True, True)}
    for stream, (with_video, with_audio) in given.items():
        for clip in range(2):
            expected = reference(
                video[clip, 0] if with_video else None,
                audio[clip] if with_audio else None,
                weights,
                SIZES["heads"],
                layer or SIZES["encoder_layers"],
                final_norm=layer is None,
            )
            torch.testing.assert_close(getattr(found, stream)[clip], expected, rtol=1e-4, atol=1e-4)
            assert expected.std() > 0.1


def test_the_large_model_has_the_released_keys_and_shapes():
    with torch.device("meta"):
        model = FrozenAVHubert(AVHubert(**LARGE), ["audio"])
        own = {key: tuple(value.shape) for key, value in model.avhubert.state_dict().items()}
        layout = released_layout(**{key: value for key, value in LARGE.items() if key != "heads"})
        pretrained = {key: torch.empty(shape) for key, shape in layout.items()}
        recognition = {f"encoder.w2v_model.{key}": x for key, x in pretrained.items() if "final_proj" not in key}
        recognition |= {"decoder.layers.0.fc1.weight": torch.empty(4, 4), "decoder.embed_out": torch.empty(4, 4)}
    for weights in (pretrained, recognition):
        assert {key: tuple(value.shape) for key, value in from_fairseq(weights).items()} == own


def test_a_model_fine_tuned_for_recognition_gives_the_same_features():
    weights = {key: x for key, x in drawn_weights().items() if not key.startswith(("final_proj", "label_embs"))}
    inside = {f"encoder.w2v_model.{key}": value for key, value in weights.items()}
    loaded = from_fairseq({"model": {**inside, "decoder.embed_out": torch.zeros(3, 3)}})
    assert loaded.keys() == from_fairseq(weights).keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in loaded)
    with pytest.raises(UserError, match="unexpected"):
        fill(AVHubert(**SIZES), from_fairseq({**inside, "encoder.proj.weight": torch.zeros(3, 3)}), "drawn")


def test_only_the_streams_that_are_wanted_are_computed():
    found = frozen(["video"])(inputs())
    assert found.video is not None
    assert found.audio is None
    assert found.joint is None


def test_a_stream_does_not_depend_on_the_other():
    model, (video, audio) = frozen(), inputs()
    first, other = model((video, audio)), model((video.flip(2), audio.flip(2)))
    mixed = model((video, audio.flip(2)))
    assert torch.equal(mixed.video, first.video)
    assert torch.equal(mixed.audio, other.audio)
    assert not torch.allclose(mixed.joint, first.joint)


def test_clips_do_not_depend_on_the_batch():
    model, (video, audio) = frozen(), inputs(clips=3)
    together = model((video, audio))
    for clip in range(3):
        alone = model((video[clip : clip + 1], audio[clip : clip + 1]))
        for name in together._fields:
            torch.testing.assert_close(getattr(together, name)[clip], getattr(alone, name)[0], rtol=1e-4, atol=1e-5)


def test_the_front_ends_keep_time():
    model, (video, audio) = frozen().avhubert, inputs(clips=1, steps=12)
    changed = audio.clone()
    changed[..., 7] += 1
    ours, theirs = (model.feature_extractor_audio(x)[0] for x in (audio, changed))
    assert (ours - theirs).abs().sum(dim=1).nonzero().flatten().tolist() == [7]
    changed = video.clone()
    changed[:, :, 7] += 1
    ours, theirs = (model.feature_extractor_video(x)[0] for x in (video, changed))
    assert (ours - theirs).abs().sum(dim=1).nonzero().flatten().tolist() == [5, 6, 7, 8, 9], "the stem takes 5 frames"


def test_it_stays_in_eval_mode_and_gets_no_gradient():
    model, (video, audio) = frozen(), inputs()
    expected = model((video, audio)).joint
    model.train()
    assert not model.avhubert.training
    found = model((video.requires_grad_(), audio)).joint
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())
