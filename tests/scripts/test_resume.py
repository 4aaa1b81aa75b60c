"""Stopped, killed or damaged runs resume bit for bit, or are refused with the reason."""

import json
import os
import shutil
import signal

import pytest
import torch

import pretrain
import train
from avdfd.core import errors
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.inference.runs import load_run
from avdfd.training import checkpoint, weights
from avdfd.training.state import Training
from tests.helpers.damage import Bomb
from tests.helpers.runs import epochs, state


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_interrupt_between_best_weights_and_checkpoint(stage, stage1, stage2, tmp_path, monkeypatch):
    pretrain.main(stage1())
    script, config, whole = (pretrain, stage1, "one") if stage == "pretrain" else (train, stage2, "two")
    if stage == "train":
        train.main(stage2())
    save = weights.save

    def interrupted(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.main([*config(name="cut"), "--save_minutes=1e-9"])
    monkeypatch.undo()
    assert len(epochs(tmp_path / "runs" / "cut")) == 1, "recorded, but not in the checkpoint"
    script.main([*config(name="cut"), "--resume"])
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / whole)


def same(one, other):
    return epochs(one) == epochs(other) and all(torch.equal(state(one)[k], v) for k, v in state(other).items())


@pytest.mark.parametrize(("workers", "home"), [(0, "memory"), (2, "disk")])
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_run_cut_off_after_any_step_resumes_bit_for_bit(stage, workers, home, stage1, stage2, tmp_path, monkeypatch):
    """A killed run has only what is on disk, so the run is cut off after every save, again and again.

    The uninterrupted run keeps its elements in memory in stage 1, and on disk in stage 2.
    """
    pretrain.main(stage1())
    script, config, whole = (pretrain, stage1, "one") if stage == "pretrain" else (train, stage2, "two")
    if stage == "train":
        train.main(stage2())
    save_last = checkpoint.save_last

    def cut(*arguments, **names):
        save_last(*arguments, **names)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_last", cut)
    place = [f"--data.workers={workers}", f"--data.home={home}"]
    arguments = [*config(name="cut"), "--resume", "--save_minutes=1e-9", *place]
    cuts = 0
    while cuts < 40:
        try:
            script.main(arguments)
        except KeyboardInterrupt:
            cuts += 1
        else:
            break
    assert cuts >= 6  # every step and every epoch
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / whole)


def test_run_with_a_trained_audio_branch_resumes_and_scores_by_itself(stage1, stage2, tmp_path, monkeypatch):
    """Its weights hold the audio branch, so that stage 1 is needed no more."""
    pretrain.main(stage1())
    before = load_run(tmp_path / "runs" / "one", "cpu").model
    train.main(stage2(audio_lr_scale=0.5))
    save_last = checkpoint.save_last

    def cut(*arguments, **names):
        save_last(*arguments, **names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_last", cut)
        with pytest.raises(KeyboardInterrupt):
            train.main(stage2(audio_lr_scale=0.5, name="cut"))
    saved = checkpoint.load_last(tmp_path / "runs" / "cut", "train")[0]
    assert [group["scale"] for group in saved["optimizer"]["param_groups"]] == [0.1, 0.5, 1.0]
    train.main([*stage2(audio_lr_scale=0.5, name="cut"), "--resume"])
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / "two")
    shutil.rmtree(tmp_path / "runs" / "one")
    run = load_run(tmp_path / "runs" / "two", "cpu")
    for name, part in (("encoder", before.encoder), ("head", before.head)):
        ours = dict(getattr(run.model, f"audio_{name}").named_parameters())
        assert all(not torch.equal(ours[key], value) for key, value in part.named_parameters())
    encoder, head = run.audio_branch
    mel, video = torch.randn(2, 128, 768), torch.zeros(2, 3, 16, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(run.model(mel, video).logit_audio, head(encoder(mel)[0]).squeeze(-1))
        assert not torch.equal(run.model(mel, video).logit_audio, before(mel).logit)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_run_stopped_by_a_signal_resumes_bit_for_bit(number, stage1, tmp_path, monkeypatch):
    pretrain.main(stage1())
    step, taken = Training.step, []

    def signalled(self, *arguments):
        taken.append(0)
        if len(taken) == 3:
            os.kill(os.getpid(), number)
        step(self, *arguments)

    monkeypatch.setattr(Training, "step", signalled)
    with pytest.raises(EndedBySignal, match=r"cut: saved in epoch 2, step 1; run it again with --resume"):
        pretrain.main(stage1(name="cut"))
    assert signal.getsignal(number) == signal.SIG_DFL
    pretrain.main([*stage1(name="cut"), "--resume"])
    assert len(taken) == 6  # no step is taken twice
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / "one")


def test_damaged_checkpoint_is_skipped(stage1, tmp_path):
    pretrain.main(stage1())
    pretrain.main(stage1(name="cut"))
    newest = sorted((tmp_path / "runs" / "cut").glob("last-*.pt"))[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    pretrain.main([*stage1(name="cut"), "--resume"])
    assert "is damaged; resuming from the one before" in (tmp_path / "runs" / "cut" / "log.txt").read_text()
    assert same(tmp_path / "runs" / "cut", tmp_path / "runs" / "one")


def test_unusable_checkpoints_exit_2(stage1, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pretrain.main(stage1())
    run = tmp_path / "runs" / "one"
    newest = checkpoint.last_files(run)[0]
    state = torch.load(newest, weights_only=True)
    numbers = (run / "metrics.jsonl").read_text()

    def said():
        with pytest.raises(SystemExit) as end:
            errors.run_script(lambda _: pretrain.main([*stage1(), "--resume"]))
        assert end.value.code == 2
        return capsys.readouterr().err

    fewer = {key: value for key, value in state["optimizer"].items() if key != "param_groups"}
    for changes, reason in (
        ({"x": Bomb()}, f"{newest}: not a checkpoint, or one that would run code to load; refused"),
        ({"config": {**state["config"], "kind": "train"}}, "a checkpoint of 'train', expected one of 'pretrain'"),
        ({"model": {**state["model"], "prototype": torch.zeros(3)}}, "has other shapes for 1 of"),
        ({"optimizer": {**fewer, "param_groups": []}}, "saved with another optimiser"),
        ({"progress": {"epoch": 1}}, "saved by another version of this code"),
    ):
        checkpoint.save(newest, {**state, **changes})
        assert reason in said()
    checkpoint.save(newest, {key: value for key, value in state.items() if key != "rng"})
    assert f"{newest}: lacks 'rng'" in said()
    for path in checkpoint.last_files(run):
        path.write_bytes(path.read_bytes()[:1000])
    assert "one: none of last-00003-0000000.pt, last-00002-0000000.pt is intact; train again" in said()
    assert not (tmp_path / "exploded").exists()
    assert (run / "metrics.jsonl").read_text() == numbers, "metrics.jsonl is unchanged"


def test_other_splits_are_refused(stage1, store, tmp_path):
    lists = tmp_path / "lists"
    shutil.copytree(store / "splits", lists)
    pretrain.main([*stage1(), f"--data.splits={lists}", "--optim.epochs=1"])
    with (lists / "test.txt").open("a") as file:
        file.write("\nid99\n")
    with pytest.raises(UserError, match=r"the lists in .*lists have changed since the run began"):
        pretrain.main([*stage1(), f"--data.splits={lists}", "--optim.epochs=1", "--resume"])


def test_run_is_not_overwritten_or_resumed_with_another_config(stage1, tmp_path):
    pretrain.main(stage1())
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        pretrain.main(stage1())
    with pytest.raises(UserError, match=r"made with another 'optim.lr' \(0.001 -> 0.01\)"):
        pretrain.main([*stage1(), "--resume", "--optim.lr=0.01"])
    assert json.loads((tmp_path / "runs" / "one" / "config.json").read_text())["optim"]["lr"] == 0.001
    with (tmp_path / "runs" / "one" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    pretrain.main([*stage1(), "--resume"])  # finished: nothing to do, and no error
    assert len(epochs(tmp_path / "runs" / "one")) == 3
