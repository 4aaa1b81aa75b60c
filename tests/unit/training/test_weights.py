"""Weights for sharing: complete in one file, free of code, and of the right kind."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from avdfd.config import AudioModelConfig, AvffConfig, PretrainConfig, TrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of, write_sha256
from avdfd.inference.runs import load_run
from avdfd.training import weights
from avdfd.training.build import build_detector, load_audio_net
from avdfd.training.weights import RunFacts
from tests.helpers.damage import FOREIGN, flipped
from tests.helpers.runs import AUDIO, make_run


@pytest.fixture
def path(tmp_path):
    return make_run(tmp_path, "pretrain") / BEST


def refused(path, *kinds):
    with pytest.raises(UserError) as error:
        weights.load(path, *(kinds or ("pretrain",)))
    return str(error.value)


def header(path, **metadata):
    """The same tensors under another header."""
    save_file(load_file(path), path, metadata=metadata or None)
    write_sha256(path, path.read_bytes())


def known(path):
    return json.loads(path.with_suffix(".json").read_text())


def test_file_sha256_and_readable_metadata_are_written(path):
    assert sorted(os.listdir(path.parent)) == ["best.json", BEST, f"{BEST}.sha256"]
    facts, model = weights.load(path, "train", "pretrain")
    assert isinstance(facts.config, PretrainConfig)
    assert facts.audio_model == facts.config.model
    assert {key: list(value.shape) for key, value in model.items()}["projection.2.weight"] == [8, 16]
    readable = known(path)
    assert readable.pop("sha256") == sha256_of(path)
    assert RunFacts.model_validate(readable) == facts
    assert (path.parent / f"{BEST}.sha256").read_text() == f"{sha256_of(path)}  {BEST}\n"


def test_equal_models_give_equal_files(path):
    before = path.read_bytes()
    weights.save(path, *reversed(weights.load(path, "pretrain")))
    assert path.read_bytes() == before


def test_file_alone_is_enough(path, tmp_path):
    copy = tmp_path / "elsewhere" / "voice.safetensors"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    model, sizes = load_audio_net(copy)
    assert sizes.dim == AUDIO["dim"]
    assert all(
        torch.equal(value, weights.load(path, "pretrain").model[key]) for key, value in model.state_dict().items()
    )
    run = load_run(copy.rename(copy.with_name(BEST)).parent, "cpu")
    assert run.branches == ("audio",)


def test_weights_that_state_no_normalisation_are_given_frames_as_when_they_were_made(tmp_path):
    path = make_run(tmp_path, "train") / BEST
    facts = known(path)
    facts["config"]["visual"] |= {"init": "marlin", "weights": "weights/marlin.pt"}
    del facts["sha256"], facts["config"]["visual"]["normalisation"]
    for stated, expected in (({}, "imagenet"), ({"normalisation": "unit"}, "unit")):
        facts["config"]["visual"] |= stated
        header(path, avdfd=json.dumps(facts))
        assert load_run(path.parent, "cpu").model.visual_encoder.normalisation == expected


def test_weights_of_another_direction_without_a_choice_of_anchors_score_as_before(tmp_path):
    path = make_run(tmp_path, "train") / BEST
    facts = known(path)
    del facts["sha256"], facts["config"]["anchors"]
    facts["config"]["direction"] = "v2a"
    torch.manual_seed(0)
    stored = build_detector(
        parse({**facts["config"], "anchors": "own"}, TrainConfig, "test"), AudioModelConfig(**AUDIO)
    )
    weights.save(path, stored.state_dict(), weights.facts_of(path, "train"))
    header(path, avdfd=json.dumps(facts))
    clips = torch.randn(2, 128, 768), torch.zeros(2, 3, 16, 32, 32, dtype=torch.uint8)
    with torch.inference_mode():
        ours, theirs = (model.eval()(*clips) for model in (load_run(path.parent, "cpu").model, stored))
    torch.testing.assert_close(ours.logit_final, theirs.logit_final, rtol=0, atol=0)


def test_every_shape_and_type_is_restored(tmp_path, path):
    facts = weights.load(path, "pretrain").facts
    model = {
        "strided": torch.arange(12.0).view(3, 4).T,
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": torch.rand(3).bfloat16(),
        "count": torch.tensor(7),
        "gradient": torch.ones(2, requires_grad=True),
    }
    weights.save(tmp_path / "x.safetensors", model, facts)
    found = weights.load(tmp_path / "x.safetensors", "pretrain").model
    assert found.keys() == model.keys()
    assert all(torch.equal(found[key], model[key]) and found[key].dtype == model[key].dtype for key in model)


def test_incomplete_metadata_is_refused():
    data = {"splits": "x", "fake_tiers": ["RVFA"]}
    with pytest.raises(UserError, match="key 'audio_model' is missing"):
        parse({"config": {"kind": "pretrain", "name": "x", "data": data}, "git": "x"}, RunFacts, "test")
    baseline = parse({"name": "x", "data": data}, AvffConfig, "test")
    with pytest.raises(UserError, match="key 'stage' is missing"):
        parse({"config": baseline, "git": "x"}, RunFacts, "test")
    assert parse({"config": baseline, "stage": "finetune", "git": "x"}, RunFacts, "test").stage == "finetune"


# ---- killed or full while it is written


def test_failed_write_leaves_the_previous_weights(path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    facts, model = weights.load(path, "pretrain")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save(path, {"other": model["prototype"]}, facts)
    assert path.read_bytes() == before
    assert weights.load(path, "pretrain").model.keys() == model.keys()


@pytest.mark.parametrize("step", ["write_sha256", "write_atomic"])
def test_kill_before_the_files_beside_it_leaves_valid_weights(path, step, monkeypatch):
    facts, model = weights.load(path, "pretrain")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, step, killed)
    with pytest.raises(KeyboardInterrupt):
        weights.save(path, {**model, "more": torch.ones(1)}, facts)
    assert "more" in weights.load(path, "pretrain").model, "the new one is complete"
    assert not path.with_suffix(".json").exists(), "nothing speaks of the former"


# ---- what it refuses


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "none.safetensors: no such weights" in refused(tmp_path / "none.safetensors")
    assert "not a file" in refused(tmp_path)


def test_another_kind_is_refused(path):
    assert "a model of 'pretrain', expected one of 'train or avff'" in refused(path, "train", "avff")


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("signed", [True, False])
def test_foreign_files_are_refused_and_run_no_code(path, name, signed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path.write_bytes(FOREIGN[name])
    if signed:
        write_sha256(path, path.read_bytes())
    reason = "not a safetensors file" if signed else "its sha256 differs from best.safetensors.sha256"
    assert f"{path}: damaged" in (message := refused(path))
    assert reason in message
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
def test_truncated_file_is_refused(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "its sha256 differs from" in refused(path)
    (path.parent / f"{BEST}.sha256").unlink()
    assert "damaged or not a safetensors file" in refused(path)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_flipped_bit_is_found(path, part):
    path.write_bytes(flipped(path.read_bytes(), part))
    assert "damaged, its sha256 differs from best.safetensors.sha256" in refused(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"not a hash  best.safetensors\n", b"0" * 64])
def test_wrong_sha256_file_is_refused(path, content):
    (path.parent / f"{BEST}.sha256").write_bytes(content)
    assert "get both files again" in refused(path)


def test_headers_without_metadata_are_refused(path):
    facts = known(path)
    del facts["sha256"]
    header(path)
    assert "weights without the metadata of a run" in refused(path)
    header(path, format="pt")
    assert "weights without the metadata of a run" in refused(path)
    header(path, avdfd="{not json")
    assert "is not JSON" in refused(path)
    for text in ("[]", "{}", '{"config": "pretrain"}'):
        header(path, avdfd=text)
        assert "has no config" in refused(path)
    header(path, avdfd='{"config": {}}')
    assert "a model of 'None'" in refused(path)
    header(path, avdfd=json.dumps({**facts, "audio_model": {"dim": "16"}}))
    assert "key 'audio_model.dim' is \"16\"" in refused(path)
    header(path, avdfd=json.dumps({**facts, "more": 1}))
    assert "unknown key 'more'" in refused(path)
    header(path, avdfd=json.dumps(facts))
    assert weights.load(path, "pretrain").facts.git == "unknown"


def test_tensors_of_another_model_are_refused(path):
    facts, model = weights.load(path, "pretrain")
    weights.save(path, {**model, "prototype": torch.zeros(3)}, facts)
    with pytest.raises(UserError, match="has other shapes for 1 of .* 'prototype'"):
        load_audio_net(path)
