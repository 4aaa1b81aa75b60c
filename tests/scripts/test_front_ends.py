"""Runs of stage 1 on a pretrained encoder resume bit for bit: cached, trained, with augmented waveforms."""

from pathlib import Path
from typing import Any

import pytest
import torch

import baseline
import pretrain
from avdfd.training import checkpoint
from tests.helpers.encoders import WAVLM, WHISPER, audio_model
from tests.helpers.runs import epochs, log, make_store, state, write_config

OPTIM: dict[str, Any] = {"lr": 1e-3, "epochs": 2, "warmup_epochs": 0, "batch_size": 4}
CHANGED: dict[str, Any] = {
    "waveform": {
        **{"speed": 0.5, "noise": 0.5, "impulsive": 0.5, "band": 0.5},
        **{"codec": 0.5, "codecs": [{"name": "mulaw"}, {"name": "mp3", "bit_rate": 32_000}]},
    }
}
TRAINED: dict[str, Any] = {"train_from": 2, "lr_scale": 0.5}


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of its own, as caches are written into it."""
    return make_store(tmp_path_factory.mktemp("store"))


def in_pieces(script: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a script that is cut off after every save, until it is done; return how often it was."""
    save_last = checkpoint.save_last

    def cut(*given, **names):
        save_last(*given, **names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_last", cut)
        for cuts in range(40):
            try:
                script.main([*arguments, "--resume", "--save_minutes=1e-9"])
            except KeyboardInterrupt:
                continue
            return cuts
    raise AssertionError("a run that makes no progress")


@pytest.mark.parametrize(
    ("front", "more", "augment", "expected"),
    [
        (WHISPER, {"head": "graph"}, {}, "cached clips in memory"),
        (WAVLM, {**TRAINED, "layers": "learned"}, {}, "cache: not used, as the encoder is trained"),
        (WHISPER, {"head": "sls"}, CHANGED, "cache: for validation alone, as the audio of training is augmented"),
        (WAVLM, {**TRAINED, "head": "attentive"}, CHANGED, "cache: not used, as the encoder is trained"),
    ],
    ids=["cached", "trained", "frozen, augmented", "trained, augmented"],
)
def test_stage_1_cut_off_after_any_step_resumes_bit_for_bit(
    front: Any, more: Any, augment: Any, expected: str, own_store: Path, encoders: Any, tmp_path: Path, monkeypatch: Any
):
    values = {"model": audio_model(front, encoders, **more), "augment": augment, "optim": OPTIM}
    words = write_config(tmp_path, own_store, "pretrain", "whole", ["RVFA", "RVFA-VC"], values)
    pretrain.main([*words, "--data.workers=0"])
    cuts = in_pieces(pretrain, [*words, "--name=pieces", "--data.workers=2"], monkeypatch)
    assert cuts >= 4, "every step and every epoch"
    whole, pieces = (tmp_path / "runs" / name for name in ("whole", "pieces"))
    assert expected in log(whole)
    assert ("cached clips" in log(whole)) == ("train_from" not in more)
    assert epochs(whole) == epochs(pieces)
    assert all(torch.equal(state(whole)[key], value) for key, value in state(pieces).items())


def test_a_countermeasure_on_augmented_waveforms_resumes_bit_for_bit(own_store: Path, tmp_path: Path, monkeypatch: Any):
    values = {
        "model": {"arch": "lfcc-lcnn", "samples": 4_000},
        "augment": CHANGED,
        "train": {"lr": 1e-3, "epochs": 2, "batch_size": 8},
    }
    words = write_config(tmp_path, own_store, "countermeasure", "whole", ["RVFA", "FVRA"], values)
    baseline.main([*words, "--data.workers=0"])
    assert in_pieces(baseline, [*words, "--name=pieces", "--data.workers=2"], monkeypatch) >= 4
    whole, pieces = (tmp_path / "runs" / name for name in ("whole", "pieces"))
    assert epochs(whole) == epochs(pieces)
    assert all(torch.equal(state(whole)[key], value) for key, value in state(pieces).items())
