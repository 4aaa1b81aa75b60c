"""AVFF: the weights that its stages start from."""

import json
import shutil

import torch

import baseline
import evaluate
from avdfd.core.files import BEST, sha256_of
from avdfd.elements.layout import STORE
from avdfd.inference.runs import load_run
from avdfd.training import weights
from OpenAVFF.finetuning import finetune_weights
from OpenAVFF.visual_encoder import VisualEncoder
from tests.helpers.baselines import RECIPE, SYSTEMS, message, swapped_splits


def test_avff_on_the_published_filter_bank_and_as_released(config, tmp_path):
    model = {**SYSTEMS["avff"]["model"], "audio_input": "fbank"}
    baseline.main(config("avff", model=model, faithful=True, loss={"adversarial": 0.0}))
    pretrained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    assert not any(key.startswith("critics") for key in pretrained)
    assert load_run(tmp_path / "runs" / "avff", "cpu").inputs.reads.waveform


def test_fine_tuning_starts_from_the_best_pre_training_epoch(config, tmp_path):
    baseline.main([*config("avff"), "--stage", "pretrain"])
    baseline.main([*config("avff", finetune={**RECIPE, "lr": 1e-12, "epochs": 1}), "--stage", "finetune"])
    former = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    tuned = weights.load(tmp_path / "runs" / "avff" / BEST, "avff").model
    for key, value in finetune_weights(former).items():
        torch.testing.assert_close(tuned[key], value, rtol=0, atol=1e-6)


def test_pre_training_starts_from_marlins_weights(config, tmp_path):
    encoder = VisualEncoder(image_size=32, dim=16, depth=1, heads=2, qkv_bias=True)
    path = tmp_path / "marlin.pt"
    torch.save({f"encoder.{k}": v for k, v in encoder.state_dict().items()} | {"decoder.x": torch.zeros(1)}, path)
    model = {**SYSTEMS["avff"]["model"], "marlin": {"file": str(path), "sha256": sha256_of(path)}}
    slow = {**RECIPE, "lr": 1e-12, "epochs": 1}
    baseline.main([*config("avff", model=model, pretrain=slow), "--stage", "pretrain"])
    trained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(trained[f"model.visual_encoder.{key}"], value, rtol=0, atol=1e-6)
    model["marlin"]["sha256"] = "00"
    assert "the config expects 00" in message(config("avff", model=model, name="x"))


def test_fine_tuning_from_a_published_file(config, tmp_path):
    baseline.main([*config("avff", faithful=True, loss={"adversarial": 0.0}), "--stage", "pretrain"])
    trained = weights.load(tmp_path / "runs" / "avff-pretrain" / BEST, "avff").model
    path = tmp_path / "published.pth"
    torch.save({f"module.{key}": value for key, value in trained.items()}, path)
    shutil.rmtree(tmp_path / "runs")
    model = {**SYSTEMS["avff"]["model"], "openavff": {"file": str(path)}}
    baseline.main(config("avff", model=model, finetune={**RECIPE, "lr": 1e-12, "epochs": 1}))
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["avff"], "there is nothing to pre-train"
    tuned = weights.load(tmp_path / "runs" / "avff" / BEST, "avff").model
    torch.testing.assert_close(tuned["visual_encoder.norm.weight"], trained["visual_encoder.norm.weight"])
    torch.save({"other": torch.zeros(1)}, path)
    assert "published.pth: pre-trained weights do not fit" in message(config("avff", model=model, name="x"))


def test_the_three_steps_of_openavff_each_by_one_command(config, store, tmp_path):
    still = {"pretrain": {**RECIPE, "lr": 1e-12, "epochs": 1}, "finetune": {**RECIPE, "lr": 1e-12, "epochs": 1}}
    arguments = config("avff", **still)
    lists = f"--data.splits={swapped_splits(tmp_path / 'swapped')}"
    shutil.copytree(store / "elements", tmp_path / "elements")
    about = json.loads((tmp_path / "elements" / STORE).read_text())
    (tmp_path / "elements" / STORE).write_text(json.dumps({**about, "settings": {"media.face": None}}))
    elements = f"--data.elements={tmp_path / 'elements'}"
    baseline.main([*arguments, "--stage", "pretrain", "--name=videos", lists, elements])
    runs = tmp_path / "runs"
    media = weights.facts_of(runs / "videos-pretrain" / BEST, "avff").media
    assert media.face is None, "whole frames, which detect.py has to take too"
    baseline.main([*arguments, "--stage", "pretrain", "--name=faces", f"--model.openavff={runs / 'videos-pretrain'}"])
    baseline.main([*arguments, "--stage", "finetune", "--name=tuned", f"--model.openavff={runs / 'faces-pretrain'}"])
    one, two, three = (
        weights.load(runs / name / BEST, "avff").model for name in ("videos-pretrain", "faces-pretrain", "tuned")
    )
    assert all(torch.allclose(two[key], one[key], atol=1e-6) for key in one)
    assert all(torch.allclose(three[key], value, atol=1e-6) for key, value in finetune_weights(one).items())
    # The first step was given the identities that are tested.
    assert "run 'videos-pretrain': identity 'id5' of the test elements is in its train list" in message(
        ["--run", str(runs / "tuned")], evaluate
    )
    missing = message([*arguments, "--stage", "pretrain", "--name=x", "--model.openavff=stage-1.pth"])
    assert missing.startswith("stage-1.pth: no such checkpoint")
    assert not (runs / "x-pretrain").exists()
