"""The training scripts, end to end on a made-up store: what they leave behind, resuming, and wrong requests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pretrain
import train
from avdfd import checkpoint, errors, scoring
from avdfd.errors import UserError
from tests.runs import AUDIO, VISUAL, make_store

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def stage1(store, tmp_path):
    """Writes a stage-1 config, with changes, and returns its path."""

    def stage1(**changes):
        values = {
            "kind": "pretrain",
            "name": "one",
            "runs": str(tmp_path / "runs"),
            "device": "cpu",
            "data": {
                "elements": str(store / "elements"),
                "splits": str(store / "splits"),
                "fake_tiers": ["RVFA", "RVFA-VC"],
                "workers": 0,
            },
            "augment": {"mel_noise": 0.1, "time_mask": 32},
            "model": AUDIO,
            "optim": {"lr": 1e-3, "epochs": 3, "warmup_epochs": 1, "batch_size": 4},
        }
        path = tmp_path / "pretrain.json"
        path.write_text(json.dumps({**values, **changes}))
        return ["--config", str(path)]

    return stage1


@pytest.fixture
def stage2(store, tmp_path):
    def stage2(**changes):
        values = {
            "kind": "train",
            "name": "two",
            "runs": str(tmp_path / "runs"),
            "device": "cpu",
            "audio": str(tmp_path / "runs" / "one"),
            "data": {
                "elements": str(store / "elements"),
                "splits": str(store / "splits"),
                "fake_tiers": ["RVFA", "FVRA"],
                "workers": 0,
            },
            "augment": {"flip": 0.5},
            "visual": VISUAL,
            "predictor": {"depth": 1, "heads": 2},
            "optim": {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4},
        }
        path = tmp_path / "train.json"
        path.write_text(json.dumps({**values, **changes}))
        return ["--config", str(path)]

    return stage2


def epochs(run):
    """Recorded numbers of a run without the times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_both_stages(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    one = tmp_path / "runs" / "one"
    assert {p.name for p in one.iterdir()} == {
        "config.json", "metrics.jsonl", "tensorboard", "log.txt", "last.pt", "best.pt",
    }  # fmt: skip
    assert [e["epoch"] for e in epochs(one)] == [1, 2, 3]
    assert json.loads((one / "config.json").read_text())["git"]
    best = max(range(3), key=lambda i: epochs(one)[i]["val_auc"])
    assert f"epoch {best + 1}: " in [x for x in (one / "log.txt").read_text().splitlines() if x.endswith("best")][-1]

    train.main(stage2())
    two = tmp_path / "runs" / "two"
    assert len(epochs(two)) == 2
    audio, detector = scoring.load_run(one, "cpu"), scoring.load_run(two, "cpu")
    assert audio.branches == ("audio",)
    assert detector.branches == ("audio", "visual", "fused")
    for name in ("encoder", "head"):
        ours = getattr(detector.model, f"audio_{name}").state_dict()
        for key, value in getattr(audio.model, name).state_dict().items():
            assert torch.equal(ours[key], value), f"audio_{name}.{key} is not stage 1's"


def test_same_seed_same_numbers(stage1, tmp_path):
    pretrain.main(stage1())
    pretrain.main(stage1(name="again"))
    pretrain.main(stage1(name="other", seed=1))
    first, again, other = (epochs(tmp_path / "runs" / n) for n in ("one", "again", "other"))
    assert first == again
    assert first != other


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(stage, stage1, stage2, tmp_path, monkeypatch):
    pretrain.main(stage1())
    script, config, whole = (pretrain, stage1, "one") if stage == "pretrain" else (train, stage2, "two")
    if stage == "train":
        train.main(stage2())
    save, saved = checkpoint.save, []

    def interrupted(path, state):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        script.main(config(name="cut"))
    monkeypatch.undo()
    script.main([*config(name="cut"), "--resume"])
    assert epochs(tmp_path / "runs" / "cut") == epochs(tmp_path / "runs" / whole)
    weights = [scoring.load_run(tmp_path / "runs" / name, "cpu").model.state_dict() for name in (whole, "cut")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_a_run_is_not_overwritten_or_continued_under_another_config(stage1):
    pretrain.main(stage1())
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        pretrain.main(stage1())
    with pytest.raises(UserError, match=r"made with another 'optim.lr' \(0.001 -> 0.01\)"):
        pretrain.main([*stage1(), "--resume", "--optim.lr=0.01"])
    pretrain.main([*stage1(), "--resume"])  # finished: nothing to do, and no error


def test_early_stopping(stage1, tmp_path):
    changes = {"optim": {"lr": 1e-12, "epochs": 9, "warmup_epochs": 0, "batch_size": 4}}
    pretrain.main(stage1(**changes, select={"metric": "auc", "patience": 2}))
    # Nothing is learned at this rate, so the first epoch stays the best.
    assert len(epochs(tmp_path / "runs" / "one")) == 3


def test_faithful_mode_leaves_the_audio_head_random(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    train.main(stage2(faithful=True))
    audio, detector = (scoring.load_run(tmp_path / "runs" / n, "cpu").model for n in ("one", "two"))
    assert torch.equal(detector.audio_encoder.pos_emb, audio.encoder.pos_emb)
    assert not torch.equal(detector.audio_head[0].weight, audio.head[0].weight)


def test_a_frozen_backbone_stays_as_it_is(stage1, stage2, tmp_path):
    pretrain.main(stage1())
    train.main(stage2(backbone_lr_scale=0, optim={"lr": 1e-3, "epochs": 1, "warmup_epochs": 1, "batch_size": 4}))
    train.main(stage2(backbone_lr_scale=0, optim={"lr": 1e-2, "epochs": 2, "warmup_epochs": 1}, name="longer"))
    short, longer = (scoring.load_run(tmp_path / "runs" / n, "cpu").model.state_dict() for n in ("two", "longer"))
    same = {k for k in short if torch.equal(short[k], longer[k])}
    assert {k for k in short if k.startswith("visual_encoder.backbone.")} <= same
    assert "visual_encoder.proj.weight" not in same


def test_wrong_requests(stage1, stage2, tmp_path):
    def message(script, arguments):
        with pytest.raises(UserError) as error:
            script.main(arguments)
        return str(error.value)

    assert "no such checkpoint" in message(train, stage2())
    pretrain.main(stage1())
    assert "none: no such checkpoint" in message(train, stage2(audio=str(tmp_path / "none")))
    assert "stage 1 has no class for FVRA" in message(pretrain, [*stage1(), '--data.fake_tiers=["FVRA"]', "--name=x"])
    assert "train.txt" in message(pretrain, [*stage1(), f"--data.splits={tmp_path}/none", "--name=x"])
    train.main(stage2())
    assert "a checkpoint of 'train', here one of 'pretrain'" in message(
        train, stage2(audio=str(tmp_path / "runs" / "two"), name="x")
    )
    best = tmp_path / "runs" / "one" / "best.pt"
    best.write_bytes(best.read_bytes()[:3000])
    assert "truncated or not a checkpoint" in message(train, stage2(name="x"))
    assert not (tmp_path / "runs" / "x").exists(), "nothing is half-written"


def run_python(script, *arguments):
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_exit_codes_and_streams(tmp_path):
    """A wrong request: one line on stderr, no traceback, exit 2."""
    result = run_python("pretrain.py", "--config", tmp_path / "none.json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"error: {tmp_path}/none.json: no such config file; the shipped ones are in config/"
    ]


@pytest.mark.parametrize("number", [28, 13, 30])
def test_storage_that_refuses_is_a_wrong_request(number, capsys):
    def main(_):
        raise OSError(number, "reason", "runs/x/best.pt")

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: runs/x/best.pt: reason; ")


def test_a_wrong_request_found_by_a_loader_process_is_one_line(capsys):
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, _):
            raise UserError("x.npy: damaged; make it anew")

    def main(_):
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: x.npy: damaged; make it anew\n"


def test_an_interrupt_is_no_traceback(capsys):
    def main(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 130
    assert "again" in capsys.readouterr().err
