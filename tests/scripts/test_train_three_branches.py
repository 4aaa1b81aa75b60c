"""Stages 2a and 2 with three branches, end to end on a store whose lips follow the audio."""

import shutil

import numpy as np
import pytest
import torch

import train
from avdfd.config import TrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.inference.runs import load_run, load_system, pretrained_under
from avdfd.models.detector import DetectorOutput
from avdfd.training import backbone_cache, weights
from tests.helpers.runs import SPECTRA, VISUAL, epochs, make_run, make_talking_store, write_config

OPTIM = {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4}
FROZEN = ["--augment.flip=0", "--backbone_lr_scale=0"]


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """A store with landmarks, and runs of stages 1 and 2a on it."""
    root = make_talking_store(tmp_path_factory.mktemp("talking"))
    make_run(root / "runs", "pretrain", root)
    stage2a = write_config(root, root, "consistency", "mouth", [], {})
    train.main(["--stage", "consistency", *stage2a])
    return root


@pytest.fixture
def stage2(talking, tmp_path):
    def stage2(**changes):
        values = {
            "audio": str(talking / "runs" / "pretrain"),
            "consistency": {"init": str(talking / "runs" / "mouth")},
            "augment": {"flip": 0.5},
            "visual": VISUAL,
            "loss": {"consistency": 1.0, "picture": 1.0},
            "optim": OPTIM,
        }
        return write_config(tmp_path, talking, "train", "three", ["RVFA", "FVRA"], values | changes)

    return stage2


def test_a_run_has_the_weights_of_the_stages_before_and_is_loaded(stage2, talking, tmp_path):
    train.main(stage2())
    lines = epochs(tmp_path / "runs" / "three")
    names = {
        f"val{branch}_{metric}" for branch in ("", "_audio", "_consistency", "_picture") for metric in ("auc", "ap")
    }
    assert lines[-1].keys() == {"epoch", "loss", "lr", *names}
    run = load_run(tmp_path / "runs" / "three", "cpu")
    assert run.branches == ("audio", "consistency", "picture", "fused")
    assert run.inputs.shape
    before = weights.load(talking / "runs" / "mouth" / BEST, "consistency").model
    for name, value in run.model.consistency.state_dict().items():
        assert torch.equal(before[name], value), "frozen by default"


def test_the_audio_branch_learns_from_its_own_loss(stage2, talking, tmp_path):
    once = ["--optim.epochs=1", "--optim.warmup_epochs=0"]
    train.main([*stage2(loss={"picture": 1.0, "audio": 1.0}, audio_lr_scale=1.0), *once])
    run = load_run(tmp_path / "runs" / "three", "cpu")
    before = weights.load(talking / "runs" / "pretrain" / BEST, "pretrain").model
    after = run.model.state_dict()
    pairs = {f"audio_{name}": value for name, value in before.items() if name.startswith(("encoder.", "head."))}
    assert pairs
    assert any(not torch.equal(after[name], value) for name, value in pairs.items() if "encoder" in name)
    assert any(not torch.equal(after[name], value) for name, value in pairs.items() if "head" in name)


def test_runs_of_one_system_have_their_own_stage_2a(stage2, talking, tmp_path):
    shutil.copytree(talking / "runs" / "mouth", tmp_path / "mouth1")
    once = ["--optim.epochs=1", "--optim.warmup_epochs=0"]
    train.main([*stage2(), *once])
    train.main([*stage2(), *once, "--name=three1", "--seed=1", f"--consistency.init={tmp_path / 'mouth1'}"])
    runs = load_system(",".join(str(tmp_path / "runs" / name) for name in ("three", "three1")), "cpu")
    assert [run.config.seed for run in runs] == [0, 1]
    assert [[config.name for config in pretrained_under(run)] for run in runs] == [["mouth"], ["mouth"]]
    shutil.rmtree(tmp_path / "mouth1")
    assert not pretrained_under(runs[1]), "a run that is gone is not known"


def test_cached_and_uncached_runs_have_equal_losses(stage2, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_cache, "FOLDER", str(tmp_path / "frozen"))
    train.main([*stage2(), *FROZEN])
    train.main([*stage2(), *FROZEN, "--cache=true", "--name=cached"])
    plain, cached = (epochs(tmp_path / "runs" / name) for name in ("three", "cached"))
    for one, other in zip(plain, cached, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["val_consistency_auc"] == pytest.approx(one["val_consistency_auc"], abs=1e-6)


def test_a_trained_predictor_is_not_cached_and_changes(stage2, talking, tmp_path, capsys):
    train.main([*stage2(), *FROZEN, "--consistency.lr_scale=1.0", "--cache=true"])
    assert "cache: not used, as an encoder is trained (consistency.lr_scale)" in capsys.readouterr().out
    before = weights.load(talking / "runs" / "mouth" / BEST, "consistency").model
    after = load_run(tmp_path / "runs" / "three", "cpu").model.consistency.state_dict()
    assert not torch.equal(before["predictor.weight"], after["predictor.weight"])
    assert torch.equal(before["shape_basis"], after["shape_basis"])


def test_micro_batches_give_the_losses_of_the_batch(stage2, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    for name, most in (("three", 0), ("parts", 3)):
        train.main([*stage2(), f"--name={name}", f"--micro_batch={most}"])
    for one, other in zip(*(epochs(tmp_path / "runs" / name) for name in ("three", "parts")), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


def test_an_audio_branch_of_the_waveform(stage2, talking, tmp_path):
    stage1 = make_run(tmp_path / "waveform", "pretrain", talking, SPECTRA)
    train.main(stage2(audio=str(stage1)))
    assert np.isfinite(epochs(tmp_path / "runs" / "three")[-1]["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--consistency.init=none"], "none: no such weights"),
        (["--direction=v2a"], "direction is of the released design: leave it out, or set consistency to null"),
        (["--predictor.zeros=true"], "predictor is of the released design"),
        (["--faithful=true"], "the released code has two branches"),
        (["--consistency=null"], "loss.picture is for three branches"),
        (["--cache=true", "--backbone_lr_scale=0"], "without augmentation: set augment.flip to 0"),
    ],
)
def test_wrong_requests_are_refused(stage2, options, message):
    with pytest.raises(UserError, match=message):
        train.main([*stage2(), *options])


# ---- loss


def output(**fields) -> DetectorOutput:
    """Outputs for a real clip, one with fake audio, one with fake video and one with both; all logits are 0."""
    zero = torch.zeros(4)
    values = {
        "log_weights": torch.full((4, 3), 1 / 3).log(),
        "frames": torch.zeros(4, 77),
        "agreement": torch.zeros(4, 31),
        "logit_moved": torch.zeros(4, 7),
    }
    return DetectorOutput(zero, zero, zero, zero, **(values | fields))


def loss(out: DetectorOutput, **changes) -> float:
    values = {
        "name": "x",
        "audio": "none",
        "data": {"splits": "none", "fake_tiers": ["RVFA", "FVRA"]},
        "consistency": {"init": "none", "moved": 0},
        "loss": {"confidence": 0},
    }
    parts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    label = parts.amax(dim=1)
    return train.stage2_loss(parse(values | changes, TrainConfig, "test"), out, label, parts).item()


def test_fake_audio_on_real_video_teaches_nothing_about_consistency():
    known, unknown = (output()._replace(logit_consistency=3.0 * torch.eye(4)[n]) for n in (2, 1))
    weighed = {"loss": {"confidence": 0, "consistency": 2.0}}
    plain = loss(output(), **weighed)
    assert loss(unknown, **weighed) == pytest.approx(plain)
    told = (np.log1p(np.exp(-3)) - np.log(2)) / 4
    assert loss(known, **weighed) == pytest.approx(plain + 2 * told, rel=1e-5)


def test_the_picture_branch_learns_from_the_label_of_the_video():
    changed = output()._replace(logit_picture=torch.tensor([-9.0, -9.0, 9.0, 9.0]))
    weighed = {"loss": {"confidence": 0, "picture": 1.0}}
    assert loss(changed, **weighed) < loss(output(), **weighed) - 0.69


def test_moved_audio_of_real_clips_counts_as_fake():
    moved = torch.zeros(4, 7)
    moved[0] = torch.tensor([-9.0, *[9.0] * 6])
    weighed = {"consistency": {"init": "none", "moved": 4.0}}
    assert loss(output(logit_moved=moved), **weighed) == pytest.approx(loss(output(), **weighed) - np.log(2), abs=1e-3)
    moved[1:] = 9.0
    assert loss(output(logit_moved=moved), **weighed) == pytest.approx(loss(output(), **weighed) - np.log(2), abs=1e-3)


def test_either_branch_of_the_video_may_take_its_weight():
    weighed = {"loss": {"confidence": 1.0}}
    ways = [[0.2, 0.8, 0.0], [0.2, 0.0, 0.8], [0.2, 0.5, 0.3]]
    found = [loss(output(log_weights=torch.tensor([way] * 4).log()), **weighed) for way in ways]
    assert found == pytest.approx([found[0]] * 3)
    told = -(np.log(0.2) + np.log(0.8) + np.log(0.2) + np.log(0.8)) / 4  # halves of real and of both, wholes of one
    assert found[0] == pytest.approx(loss(output()) + told, rel=1e-5)
