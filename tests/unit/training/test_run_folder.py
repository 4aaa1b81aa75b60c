"""The run folder: examples of inputs, lines on the console, Weights & Biases."""

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

import pretrain
from avdfd.config import PretrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.training import examples, loop
from avdfd.training.distributed import World
from avdfd.training.examples import Example
from avdfd.training.run_folder import RunFolder
from avdfd.training.state import Progress
from tests.helpers.runs import AUDIO, data_section
from tests.unit.elements import meta


def config(folder, **changes):
    data = {"splits": "x", "fake_tiers": ["RVFA"]}
    return parse({"name": "run", "runs": str(folder), "data": data, **changes}, PretrainConfig, "test")


# ---- examples


def test_image_of_spectrogram_and_frames():
    spectrogram = np.zeros((4, 8), np.float32)
    spectrogram[0] = 1.0  # the lowest frequency is drawn at the bottom
    red = np.zeros((16, 10, 10, 3), np.uint8)
    red[..., 0] = 255
    both, alone = (
        examples.draw([Example("RVFA, fake", spectrogram, red)]),
        examples.draw([Example("RVRA, real", spectrogram, None)]),
    )
    assert both.shape == (146, 512 + 6 + 6 * 128, 3)
    assert alone.shape == (146, 512, 3)
    assert both[80, 600].tolist() == [255, 0, 0]
    assert both[140, 100].tolist() != both[30, 100].tolist()
    assert both[60, 100].tolist() == both[30, 100].tolist()
    assert both[:18, :120].min() < 100, "a caption"
    assert examples.draw([Example("", np.zeros((4, 8), np.float32), None)] * 3).shape[0] == 3 * 146


def test_examples_are_saved_once(tmp_path):
    metas = [meta("a", "RVRA"), meta("b", "RVFA")]
    for value in (10, 200):
        run = RunFolder(config(tmp_path), resume=True)
        run.show(torch.rand(2, 128, 768), torch.full((2, 3, 16, 32, 32), value, dtype=torch.uint8), metas)
        run.show(torch.rand(2, 128, 768), torch.full((2, 3, 16, 32, 32), 90, dtype=torch.uint8), metas)
        run.close()
    shown = cv2.imread(str(tmp_path / "run" / "examples.png"))
    assert shown[80, 600].tolist() == [10, 10, 10], "of the first batch of the first start"
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0}).Reload()
    (image,) = events.Images("examples")
    assert (image.width, image.height) == (shown.shape[1], shown.shape[0])


def test_only_the_first_process_saves_examples(tmp_path):
    run = RunFolder(config(tmp_path), resume=True, first=False)
    run.show(torch.rand(2, 128, 768), None, [])
    run.close()
    assert not (tmp_path / "run").exists()


def test_first_process_announces_on_the_console_and_in_the_log(tmp_path):
    lines = []
    run = RunFolder(config(tmp_path), resume=True, console=lines.append)
    run.announce("stage 1 done")
    run.log("not shown")
    RunFolder(config(tmp_path), resume=True, first=False, console=lines.append).announce("from another process")
    run.close()
    assert lines == ["stage 1 done"]
    assert [line.split(" ", 2)[2] for line in (run.path / "log.txt").read_text().splitlines()] == [
        "stage 1 done",
        "not shown",
    ]


# ---- Weights & Biases


class Wandb(SimpleNamespace):
    """Stands for the package: notes what it is told."""

    def __init__(self):
        super().__init__(begun=[], logged=[], finished=0)

    def init(self, **settings):
        self.begun.append(settings)
        return SimpleNamespace(log=lambda values, **how: self.logged.append((values, how)), finish=self._finish)

    def _finish(self):
        self.finished += 1

    def Image(self, pixels):  # noqa: N802
        return pixels.shape


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", fake := Wandb())
    return fake


@pytest.fixture
def stage1(store, tmp_path):
    data = data_section(store, "RVFA")
    optim = {"lr": 1e-3, "epochs": 2, "warmup_epochs": 1, "batch_size": 4}
    values = {"kind": "pretrain", "name": "run", "runs": str(tmp_path), "device": "cpu", "data": data, "model": AUDIO}
    (tmp_path / "stage1.json").write_text(json.dumps({**values, "optim": optim}))
    return ["--config", str(tmp_path / "stage1.json"), "--resume"]


def test_weights_and_biases_records_a_run_and_its_resumption(wandb, stage1, tmp_path):
    pretrain.main([*stage1, "--tracking.wandb=voices"])
    run = tmp_path / "run"
    (begun,) = wandb.begun
    assert (begun["project"], begun["name"], begun["dir"], begun["resume"]) == ("voices", "run", str(run), "allow")
    assert begun["id"] == (run / "wandb.id").read_text().strip()
    assert begun["config"]["optim"]["lr"] == 1e-3
    assert begun["config"]["git"]
    (shown, how), *numbers = wandb.logged
    assert shown["examples"][2] == 3
    assert how == {"commit": False}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [({"epoch": how["step"], **values}) for values, how in numbers] == lines
    assert wandb.finished == 1

    pretrain.main([*stage1, "--tracking.wandb=others"])  # another project is no other run
    assert wandb.begun[1]["id"] == begun["id"]
    pretrain.main(stage1)
    assert len(wandb.begun) == 2


def test_other_processes_record_nothing(wandb, tmp_path):
    run = RunFolder(config(tmp_path, tracking={"wandb": "voices"}), resume=False, first=False)
    run.write_config(config(tmp_path, tracking={"wandb": "voices"}))
    run.epoch(1, {"loss": 1.0})
    run.close()
    assert wandb.begun == []


def test_missing_wandb_package_is_a_user_error(stage1, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"tracking.wandb: the package is not installed; .*pip install wandb"):
        pretrain.main([*stage1, "--tracking.wandb=voices"])
    assert not (tmp_path / "run").exists()


# ---- the bar of an epoch


def test_progress_bar_counts_steps_and_shows_the_last_read_loss(monkeypatch):
    seen, progress = [], Progress(step=3)

    class Bar:
        def __init__(self, **settings):
            seen.append(settings)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            seen.append("closed")

        def set_postfix(self, refresh, **values):
            seen.append((values, refresh))

        def update(self, steps):
            seen.append(steps)

    monkeypatch.setattr(loop, "Bar", Bar)
    for part in loop.steps(range(4), 2, progress, World(torch.device("cpu"))):
        if part % 2:  # two parts make a step
            progress.step += 1
            progress.step_losses = [{"loss": 0.5}]
    settings, *rest = seen
    assert (settings["initial"], settings["total"], settings["disable"]) == (3, 5, False)
    shown = ({"loss": "0.500"}, False)
    assert rest == [0, shown, 1, shown, 0, shown, 1, "closed"]
