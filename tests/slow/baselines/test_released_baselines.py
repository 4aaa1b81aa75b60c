"""Every published checkpoint loads by its system's name, in its published wrappers; others are refused by name."""

import argparse
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from avdfd.baselines import released
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.models.avhubert import AVHubert
from OpenAVFF.visual_encoder import VisualEncoder
from tests import reference
from tests.paths import ROOT


def close(tensor, expected):
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_openavff():
    expected = reference.values("openavff")
    audio = reference.tensor("openavff.audio.0", 2, 1024, 128)
    video = reference.tensor("openavff.video.0", 2, 3, 16, 224, 224)
    # The reference has fewer blocks than the released checkpoint: a smaller depth leaves out the others.
    module = released.load(
        "openavff-pretrain", reference.state_dict("openavff", "VideoCAVMAE"), encoder_depth=2, decoder_depth=1
    )
    out = module(audio, video, mask_indices=expected["mask_indices"].tolist())
    for name in ("total_loss", "nce_loss", "c_acc", "rec_loss_a", "rec_loss_v"):
        close(getattr(out, name), expected[name])
    close(out.audio_recon[:, :, ::16, ::64], expected["audio_recon"])
    close(out.video_recon[:, :, ::5, ::32, ::32], expected["video_recon"])
    module = released.load("openavff-finetune", reference.state_dict("openavff", "VideoCAVMAEFT"), encoder_depth=2)
    close(module(audio, video).logits, expected["ft_logits"])
    assert not module.training


@pytest.mark.parametrize("variant", ["ce", "margin"])
@torch.inference_mode()
def test_mrdf(variant):
    expected = reference.values("mrdf")
    weights = reference.state_dict("mrdf", {"ce": "MRDF_CE", "margin": "MRDF_Margin"}[variant])
    padding = torch.zeros(3, 24, dtype=torch.bool)
    padding[1, -5:] = True
    # Lightning stores its weights beside the training state.
    module = released.load(f"mrdf-{variant}", {"state_dict": weights, "epoch": 3})
    out = module(
        video=reference.tensor("mrdf.video.0", 3, 3, 24, 100, 100),
        audio=reference.tensor("mrdf.audio.0", 3, 104, 24),
        padding_mask=padding,
    )
    close(out.m_logits, expected[f"{variant}_m_logits"])
    close(out.v_cross[:, ::48], expected[f"{variant}_v_cross"])
    close(out.a_cross[:, ::48], expected[f"{variant}_a_cross"])
    close(out.v[:, :16], expected[f"{variant}_v"])
    close(out.a[:, :16], expected[f"{variant}_a"])


@pytest.mark.parametrize(
    ("system", "model", "array", "x", "step"),
    [
        ("vfd2022-face", "CViT", "cvit", ("vfd.img.0", 3, 3, 224, 224), 64),
        ("vfd2022-voice", "CAiT", "cait", ("vfd.mel.0", 3, 1, 512, 301), 64),
        ("vfd2023-face", "VisualTransformer", "mvf_visual", ("mvf.img.0", 3, 3, 224, 224), 32),
        ("vfd2023-voice", "AuditoryTransformer", "mvf_auditory", ("mvf.mel.0", 3, 1, 128, 256), 32),
    ],
)
@torch.inference_mode()
def test_vfd(system, model, array, x, step):
    weights = reference.state_dict("vfd", model)
    sizes = {"layers": 2} if "2023" in system else {}
    # Both networks of 2023 are in one file, from a data-parallel model.
    branch = system.rpartition("-")[2]
    if "2023" in system:
        other = {"face": "voice", "voice": "face"}[branch]
        parallel = {f"module.{key}": value for key, value in weights.items()}
        weights = {f"{branch}_model_state_dict": parallel, f"{other}_model_state_dict": {"module.x": torch.zeros(1)}}
    module = released.load(system, weights, **sizes)
    scale = 0.5 if x[0] == "vfd.img.0" else 1.0
    close(module(scale * reference.tensor(*x))[:, ::step], reference.values("vfd")[array])


@torch.inference_mode()
def test_avdfd_audio_encoder():
    whole = reference.state_dict("avdfd", "AudioPretrainNet")
    weights = {k.removeprefix("audio_enc."): v for k, v in whole.items() if k.startswith("audio_enc.")}
    feature, tokens = released.load("avdfd-audio-encoder", weights)(reference.tensor("avdfd.mel.0", 4, 128, 768))
    close(feature[:, ::16], reference.values("avdfd")["pre_feat"])
    close(tokens[:, :, ::32], reference.values("avdfd")["pre_tok"])


@torch.inference_mode()
def test_marlin(tmp_path):
    torch.manual_seed(0)
    source = VisualEncoder(depth=1).eval()
    path = tmp_path / "marlin.pt"
    whole = {f"encoder.{k}": v for k, v in source.state_dict().items()} | {"decoder.x": torch.zeros(1)}
    torch.save(whole, path)
    video = reference.tensor("openavff.video.0", 2, 3, 16, 224, 224)[:1]
    for ours, theirs in zip(released.load("marlin", path, visual_depth=1)(video), source(video), strict=True):
        assert torch.equal(ours, theirs)


def test_avhubert_in_the_wrapper_of_fairseq(tmp_path):
    sizes = {"encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 4}
    source = AVHubert(**sizes)
    path = tmp_path / "base.pt"
    pretraining = {
        "mask_emb": torch.zeros(104),
        "label_embs_concat": torch.zeros(3, 8),
        "final_proj.bias": torch.ones(1),
    }
    settings = argparse.Namespace(arch="av_hubert")
    torch.save({"args": settings, "model": {**source.state_dict(), **pretraining}, "optimizer_history": []}, path)
    loaded = released.load("avhubert", path, **sizes)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in source.state_dict().items())


@pytest.fixture(scope="module")
def encoder_weights():
    whole = reference.state_dict("avdfd", "AudioPretrainNet")
    return {k.removeprefix("audio_enc."): v for k, v in whole.items() if k.startswith("audio_enc.")}


def test_wrong_files_are_named(tmp_path, encoder_weights):
    path = tmp_path / "w.pt"
    torch.save(encoder_weights, path)
    with pytest.raises(
        UserError, match=r"w\.pt as vfd2023-face: not a checkpoint of this model: lacks 152 of 152 keys"
    ):
        released.load("vfd2023-face", path)
    with pytest.raises(UserError, match="not a checkpoint of MRDF: unexpected key"):
        released.load("mrdf-ce", path)
    with pytest.raises(UserError, match=r"no 'encoder\.\*' keys|not a checkpoint"):
        released.load("marlin", {"head.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="unknown sizes depth; it has layers"):
        released.load("vfd2023-face", path, depth=2)
    with pytest.raises(UserError, match="unknown released system 'mrdf': use openavff-pretrain, "):
        released.load("mrdf", path)
    for content in ({}, {"a": 1}, {"state_dict": {}}):
        with pytest.raises(UserError, match="holds no state dict of tensors"):
            released.load("mrdf-ce", content)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        released.load("avdfd-audio-encoder", path)


def test_missing_blocks_are_not_a_smaller_model(encoder_weights):
    short = {k: v for k, v in encoder_weights.items() if not k.startswith("encoder.layers.3.")}
    with pytest.raises(UserError, match=r"lacks 12 of \d+ keys, e\.g\. 'encoder\.layers\.3\."):
        released.load("avdfd-audio-encoder", short)


def run(*arguments):
    command = [sys.executable, "-m", "avdfd.released", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_convert_writes_what_load_reads(tmp_path, encoder_weights):
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    # Released files have tensors under two names.
    twin = {f"module.{key}": value for key, value in encoder_weights.items()}
    torch.save({"state_dict": twin, "args": argparse.Namespace(lr=1.0)}, source)
    result = run(source, target, "--system", "avdfd-audio-encoder")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{target}: {sha256_of(target)}\n"
    assert (tmp_path / "out.safetensors.sha256").read_text() == f"{sha256_of(target)}  out.safetensors\n"
    loaded = released.load("avdfd-audio-encoder", target)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in encoder_weights.items())


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_convert_refuses_code_and_other_systems(tmp_path, encoder_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb, other, target = tmp_path / "bomb.pt", tmp_path / "other.pt", tmp_path / "out.safetensors"
    torch.save({"state_dict": encoder_weights, "x": Bomb()}, bomb)
    torch.save(encoder_weights, other)
    for source, system, message in (
        (bomb, "avdfd-audio-encoder", "would run code"),
        (other, "vfd2023-voice", "not a checkpoint of this model"),
        (tmp_path / "none.pt", "mrdf-ce", "no such checkpoint"),
    ):
        with pytest.raises(UserError, match=message):
            released.convert(source, target, system)
    with pytest.raises(UserError, match="the target must be a safetensors file"):
        released.convert(other, tmp_path / "out.pt", "avdfd-audio-encoder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.pt", "other.pt"], "nothing ran, nothing was written"
    result = run(bomb, target, "--system", "avdfd-audio-encoder")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
