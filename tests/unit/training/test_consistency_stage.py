"""Stage 2a on a small store whose lips follow the audio: run folder, methods, resume, refused requests."""

import json
import os
import signal

import pytest
import torch

import train
from avdfd.config import ConsistencyStageConfig, parse
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.inference.runs import load_run
from avdfd.models.consistency import Consistency
from avdfd.training import weights
from avdfd.training.build import load_consistency
from avdfd.training.consistency_stage import moved_audio, stage2a_loss
from avdfd.training.state import Training
from tests.helpers.runs import epochs, make_talking_store, write_config

STAGE = ["--stage", "consistency"]


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """A store with landmarks, whose split lists have enough identities."""
    return make_talking_store(tmp_path_factory.mktemp("talking"))


@pytest.fixture
def stage2a(talking, tmp_path):
    def stage2a(**changes):
        written = write_config(tmp_path, talking, "consistency", "mouth", [], changes)
        return [*STAGE, *written]

    return stage2a


NETWORK = {
    "method": "info-nce",
    "model": {"depth": 1, "width": 8, "heads": 2},
    "optim": {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4},
}


def test_least_squares_writes_a_run_that_stage_2_reads(stage2a, tmp_path, capsys):
    train.main(stage2a())
    run = tmp_path / "runs" / "mouth"
    names = {
        "config.json",
        "metrics.jsonl",
        "log.txt",
        "card.md",
        "tensorboard",
        ".lock",
        "best.json",
        BEST,
        f"{BEST}.sha256",
    }
    assert {path.name for path in run.iterdir()} == names
    (values,) = epochs(run)
    moved = [f"val_shift_{ms}ms_auc" for ms in (80, 200, 400)]
    assert values.keys() == {"epoch", "val_auc", "val_ap", *moved}
    assert min(values[name] for name in ("val_auc", *moved[1:])) > 0.9, "the lips follow the audio"
    assert 0.5 < values[moved[0]] <= min(values[name] for name in moved[1:]), "two frames are the hardest to notice"
    facts = weights.facts_of(run / BEST, "consistency")
    assert (facts.epoch, facts.metric, facts.value) == (1, "val_auc", values["val_auc"])
    assert json.loads((run / "config.json").read_text())["git"] == facts.git
    assert (run / f"{BEST}.sha256").read_text().split()[0] == sha256_of(run / BEST)
    model, sizes = load_consistency(run)
    assert sizes.tokens == model.shape_basis.shape[1] == 6
    assert "stage 2a: 8 training and 4 validation elements of real clips" in capsys.readouterr().out
    with pytest.raises(UserError, match="stage 2a has no classifier yet"):
        load_run(run, "cpu")


def test_a_finished_fit_is_not_repeated(stage2a, tmp_path, capsys):
    train.main(stage2a())
    written = (tmp_path / "runs" / "mouth" / BEST).stat().st_mtime_ns
    train.main([*stage2a(), "--resume"])
    assert "stage 2a done before" in capsys.readouterr().out
    assert (tmp_path / "runs" / "mouth" / BEST).stat().st_mtime_ns == written
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        train.main(stage2a())
    with pytest.raises(UserError, match=r"made with another 'ridge' \(1.0 -> 2.0\)"):
        train.main([*stage2a(), "--resume", "--ridge=2.0"])


@pytest.mark.parametrize("direction", ["v2a", "symmetric"])
def test_other_directions_have_the_same_number_of_tokens(stage2a, tmp_path, direction):
    train.main([*stage2a(), f"--model.direction={direction}"])
    model, _ = load_consistency(tmp_path / "runs" / "mouth")
    assert model.audio_basis.shape == (32, 6)
    assert hasattr(model, "shape_basis") == (direction == "symmetric")
    assert epochs(tmp_path / "runs" / "mouth")[0]["val_auc"] > 0.8


@pytest.mark.parametrize("method", ["info-nce", "regression"])
def test_a_network_is_trained_from_the_linear_fit(stage2a, tmp_path, method):
    train.main([*stage2a(**NETWORK), f"--method={method}"])
    run = tmp_path / "runs" / "mouth"
    first, second = epochs(run)
    assert second["loss"] < first["loss"]
    model, _ = load_consistency(run)
    assert model.network.out.weight.abs().sum() > 0
    assert second["val_auc"] > 0.9


def test_an_interrupted_network_resumes_to_the_same_result(stage2a, tmp_path, monkeypatch):
    train.main(stage2a(**NETWORK))
    step, taken = Training.step, []

    def signalled(self, *rest):
        taken.append(0)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *rest)

    monkeypatch.setattr(Training, "step", signalled)
    arguments = [*stage2a(**NETWORK), "--name=cut"]
    with pytest.raises(EndedBySignal):
        train.main(arguments)
    train.main([*arguments, "--resume"])
    cut, whole = (tmp_path / "runs" / name for name in ("cut", "mouth"))
    assert epochs(cut) == epochs(whole)
    ours, theirs = (load_consistency(run)[0].state_dict() for run in (cut, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage=vision"], "invalid choice: 'vision'"),
        ([*STAGE, "--model.depth=1"], "model.depth: least-squares fits no layers"),
        ([*STAGE, "--augment.mel_noise=0.1"], "augment: least-squares takes clips as they are"),
        ([*STAGE, '--data.fake_tiers=["RVFA"]'], "fake_tiers: this stage takes real clips alone"),
        ([*STAGE, "--model.width=10"], "width 10 must be a multiple of heads 4"),
    ],
)
def test_wrong_requests_are_refused(stage2a, options, message):
    with pytest.raises(UserError, match=message):
        train.main([*stage2a(), *options])


def test_a_store_without_landmarks_and_too_few_identities_are_refused(stage2a, small_store):
    with pytest.raises(UserError, match="has no landmarks: add landmarks to media.keep"):
        train.main([*stage2a(), f"--data.elements={small_store}/elements"])
    with pytest.raises(UserError, match="real clips of 4 identities or more are needed in train"):
        train.main([*stage2a(), f"--data.splits={small_store}/splits"])


def test_audio_is_moved_by_frames():
    mel = torch.arange(60.0).expand(2, 1, 60)
    moved = moved_audio(mel, torch.tensor([2, -1]))
    assert moved[0, 0, :3].tolist() == [20, 21, 22]
    assert moved[1, 0, :12].tolist() == [0] * 10 + [0, 1]
    assert moved[0, 0, -1] == 59


@pytest.mark.parametrize("method", ["info-nce", "regression"])
def test_the_loss_is_lowest_for_what_belongs_together_and_moves_no_target(method):
    torch.manual_seed(0)
    values = {"name": "x", "data": {"splits": "s"}, "method": method}
    cfg, identity = parse(values, ConsistencyStageConfig, "test"), torch.arange(4)
    predicted, actual = torch.randn(4, 60, 3, requires_grad=True), torch.randn(4, 60, 3, requires_grad=True)
    loss = stage2a_loss(cfg, predicted, actual, identity, 5.0)
    loss.backward()
    assert predicted.grad.any()
    assert actual.grad is None
    assert stage2a_loss(cfg, actual, actual, identity, 5.0) < loss
    if method == "regression":
        unit = [x.detach() / x.detach().norm(dim=(1, 2), keepdim=True) for x in (predicted, actual)]
        assert loss.item() == pytest.approx(0.5 * (unit[0] - unit[1]).square().sum(dim=(1, 2)).mean().item(), rel=1e-3)


def test_both_directions_have_positions_in_time():
    """An impulse in the mouth moves the audio that is predicted within 0.24 s of it; tokens keep their order."""
    torch.manual_seed(0)
    model = Consistency(tokens=4, direction="symmetric")
    model.shape_basis.normal_()
    model.audio_basis.normal_()
    mel, shape = torch.randn(1, 128, 768), torch.zeros(1, 77, 120)
    changed = shape.clone()
    changed[:, 40] += 1
    model.slow = 0.01  # no slow part, so that an impulse stays one
    said, shown = model.tokens(mel, shape)
    assert said.shape == shown.shape == (1, 77, 8)
    model.movement = lambda tokens: tokens
    first, second = (model.predict_audio(x) for x in (shape, changed))
    moved = (first - second).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(34, 47))
