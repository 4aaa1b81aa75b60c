"""Requests that baseline.py refuses."""

import json
from dataclasses import replace

import pytest

import baseline
import evaluate
from avdfd.baselines import mrdf
from avdfd.config import MrdfConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.elements import ElementStore
from avdfd.inference.runs import load_run
from avdfd.training import weights
from tests.helpers.baselines import RECIPE, SYSTEMS, message
from tests.helpers.runs import make_run
from tests.helpers.vfd import make_dfdc


def test_other_systems_refuse_a_vfd_folder(trained, tmp_path):
    folder = make_dfdc(tmp_path / "dfdc", ["r1"], ["f1"])
    arguments = ["--run", str(trained("mrdf")), "--elements", str(folder), "--split", "all"]
    assert "a VFD folder has one image and a voice feature per clip, but mrdf needs" in message(arguments, evaluate)


def test_wrong_requests(config, store, tmp_path):
    assert "--stage train: avff has the stages pretrain, finetune, or all" in message(
        [*config("avff"), "--stage", "train"]
    )
    assert "avff-pretrain/best.safetensors: no such weights" in message([*config("avff"), "--stage", "finetune"])
    assert "loss.adversarial: OpenAVFF has no adversarial loss" in message(config("avff", faithful=True))
    assert "model.encoder_layers: the released MRDF has none" in message(config("mrdf", faithful=True))
    parts = {**RECIPE, "micro_batch": 2}
    assert "pretrain.micro_batch: AVFF contrasts the clips of a whole batch" in message(config("avff", pretrain=parts))
    assert "finetune.micro_batch: OpenAVFF attends across the clips of a batch" in message(
        config("avff", finetune=parts, faithful=True, loss={"adversarial": 0.0})
    )
    assert "train.micro_batch: MRDF's batch norms need the whole batch: set it to 0" in message(
        config("mrdf", train=parts)
    )
    assert "match.micro_batch: VFD contrasts the clips of a whole batch" in message(config("vfd", match=parts))
    marlin = {**SYSTEMS["avff"]["model"], "marlin": {"file": str(tmp_path / "none.pt")}}
    assert "none.pt: no such checkpoint" in message(config("avff", model=marlin))
    one = {**SYSTEMS["vfd"]["model"], "face": {"file": "x"}}
    assert "face and voice weights go together" in message(config("vfd", model=one))
    assert not (tmp_path / "runs").exists(), "nothing is half-written"
    baseline.main([*config("avff"), "--stage", "pretrain"])
    assert "the pretrain stage of avff has no classifier yet" in message(
        ["--run", str(tmp_path / "runs" / "avff-pretrain")], evaluate
    )
    assert "holds a run already" in message([*config("avff"), "--stage", "pretrain"])
    assert "made with another 'pretrain.lr'" in message([*config("avff"), "--resume", "--pretrain.lr=0.5"])
    baseline.main([*config("avff"), "--stage", "pretrain", "--resume", "--finetune.lr=0.5"])  # irrelevant to this stage


def test_mrdf_refuses_a_tier_without_labels_of_both_modalities(config, store, tmp_path):
    metas = ElementStore(store / "elements").metas
    unknown = replace(metas[0], tier="FAKE")
    cfg = load(config("mrdf")[1], MrdfConfig)
    with pytest.raises(UserError, match="the tier FAKE does not have"):
        mrdf.batches(cfg, "train", [*metas, unknown])


def test_other_configs_are_refused(config, store, tmp_path):
    ours = make_run(tmp_path, "train", store)
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(weights.load(ours / BEST, "train").facts.config.model_dump()))
    assert 'this script takes a config with kind "avff" or "mrdf" or "vfd"' in message(["--config", str(path)])
    assert load_run(ours, "cpu").branches == ("audio", "visual", "fused")
