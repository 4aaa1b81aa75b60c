"""Training steps whose loss is not finite: skipped, counted, and an end of the run."""

import math
from dataclasses import replace

import pytest
import torch

import pretrain
from avdfd.core.errors import WorkError
from avdfd.elements import ElementStore
from tests.helpers.runs import SPECTRA, epochs, log, state


def test_non_finite_steps_are_skipped_counted_and_logged(stage1, tmp_path, monkeypatch):
    loss, calls = pretrain.stage1_loss, []

    def poisoned(*arguments):
        calls.append(0)
        return loss(*arguments) * (float("nan") if len(calls) in (2, 3) else 1.0)

    monkeypatch.setattr(pretrain, "stage1_loss", poisoned)
    pretrain.main(stage1())
    run = tmp_path / "runs" / "one"
    assert [e.get("skipped_steps") for e in epochs(run)] == [1.0, 2.0, 2.0]
    assert all(math.isfinite(e["loss"]) for e in epochs(run))
    assert all(value.isfinite().all() for value in state(run).values())
    lines = [line for line in (run / "log.txt").read_text().splitlines() if "skipped a step" in line]
    assert len(lines) == 2
    assert lines[0].count("RealVideo-") == 8  # four pairs, by key


def test_too_many_bad_steps_end_the_run_and_save_the_batch(stage1, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "stage1_loss", lambda *arguments: arguments[1].sum() * float("inf"))
    with pytest.raises(WorkError, match=r"3 steps in a row without a finite loss .* max_bad_steps = 2.*bad_batch.pt"):
        pretrain.main([*stage1(), "--max_bad_steps=2"])
    saved = torch.load(tmp_path / "runs" / "one" / "bad_batch.pt", weights_only=True)
    assert len(saved["keys"]) == 8
    assert saved["batch"]["mel"].shape == (8, 128, 768)
    with pytest.raises(WorkError):
        pretrain.main([*stage1(name="patches", model=SPECTRA, augment={}), "--max_bad_steps=2"])
    saved = torch.load(tmp_path / "runs" / "patches" / "bad_batch.pt", weights_only=True)
    assert len(saved["batch"]["cached"][0]) == 8


def test_element_that_is_not_finite_is_named_with_its_clip(stage1, tmp_path, monkeypatch):
    read, bad = ElementStore.read, "RealVideo-RealAudio/Asian/men/id1/00000.mp4"

    def spoilt(store, key, **wanted):
        element = read(store, key, **wanted)
        return replace(element, mel=element.mel * math.nan) if element.meta.source == bad else element

    monkeypatch.setattr(ElementStore, "read", spoilt)
    with pytest.raises(WorkError, match=rf"in which the inputs of .*\(clip {bad}\) are not finite: make these"):
        pretrain.main([*stage1(), "--max_bad_steps=0"])
    (line,) = [line for line in log(tmp_path / "runs" / "one").splitlines() if "skipped a step" in line]
    assert f"(clip {bad}) are not finite" in line
    assert "id2" not in line
