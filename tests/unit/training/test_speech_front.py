"""Both stages on a pretrained audio encoder: drawn weights of a small one, from a file."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import detect
import pretrain
import train
from avdfd.config import AudioModelConfig
from avdfd.core.errors import EndedBySignal, UserError
from avdfd.core.files import BEST, sha256_of
from avdfd.inference.runs import audio_only, load_run
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.training import backbone_cache, weights
from avdfd.training.build import load_audio_net
from tests.helpers.encoders import WAVLM, WHISPER, audio_model, encoder_of
from tests.helpers.runs import epochs, log, make_store, state

Values = dict[str, Any]
Files = dict[str, Path]

OPTIM: dict[str, Any] = {"lr": 1e-3, "epochs": 2, "warmup_epochs": 0, "batch_size": 4}


@pytest.fixture
def own_store(tmp_path: Path) -> Path:
    """A store of its own, as a cache is written into it."""
    return make_store(tmp_path)


@pytest.mark.parametrize("weighting", ["equal", "loudness"])
def test_both_stages_on_a_frozen_encoder(
    own_store: Path, tmp_path: Path, encoders: Files, stage1, stage2, weighting: str, capsys
):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    of_model = {"patches": "statistics", "spectra": [256], "score": "fitted"}
    model = audio_model(WHISPER, encoders, of_model, weighting=weighting)
    same: dict[str, Any] = {"augment": {}, "optim": OPTIM}
    pretrain.main(stage1(data={**data, "fake_tiers": ["RVFA", "RVFA-VC"]}, model=model, **same))
    one = tmp_path / "runs" / "one"
    assert re.search(r"cache: frozen features of 24 clips .* 24 are missing", capsys.readouterr().out)
    assert "training elements: 12 cached clips in memory" in log(one)
    facts, kept = weights.load(one / BEST, "pretrain")
    assert not [key for key in kept if "front_end" in key], "a frozen encoder is referred to"
    assert facts.audio_model is not None
    assert facts.audio_model.front is not None
    assert facts.audio_model.front.sha256 == sha256_of(encoders["tiny"])

    again = [*stage1(data={**data, "fake_tiers": ["RVFA", "RVFA-VC"]}, model=model, **same), "--name=again"]
    pretrain.main(again)
    assert "; 0 are missing" in capsys.readouterr().out
    assert epochs(tmp_path / "runs" / "again") == epochs(one)

    train.main(stage2(data={**data, "fake_tiers": ["RVFA", "FVRA"]}, **same))
    run = load_run(tmp_path / "runs" / "two", "cpu")
    audio = audio_only(run)
    assert audio is not None
    waveform = torch.randn(2, 49_152) / 10
    with torch.no_grad():
        ours = load_run(one, "cpu").model(waveform).logit
        theirs = run.audio_branch[1](run.audio_branch[0](waveform)[0]).squeeze(-1) if run.audio_branch else None
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("more", [{"layers": "learned"}, {"head": "graph"}], ids=str)
def test_both_stages_on_a_trained_encoder(more: Values, stage1, stage2, tmp_path: Path, encoders: Files):
    model = audio_model(WAVLM, encoders, train_from=2, lr_scale=0.5, **more)
    pretrain.main(stage1(augment={}, optim=OPTIM, model=model))
    net, _ = load_audio_net(tmp_path / "runs" / "one")
    assert isinstance(net.encoder, SpeechEncoder)
    assert net.encoder.front_end is not None
    start = torch.load(encoders["wavlm-base-plus"])
    now = {key.removeprefix("model."): value for key, value in net.encoder.front_end.state_dict().items()}
    changed = {key for key in start if not torch.equal(start[key], now[key])}
    assert changed
    assert all(key.startswith("encoder.transformer.layers.1.") for key in changed)
    train.main(stage2(augment={}, optim={**OPTIM, "epochs": 1}))
    assert torch.equal(
        state(tmp_path / "runs" / "two")["audio_encoder.proj.weight"],
        state(tmp_path / "runs" / "one")["encoder.proj.weight"],
    )


def test_a_run_on_a_frozen_encoder_resumes(own_store: Path, tmp_path: Path, encoders: Files, stage1, monkeypatch):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    args = stage1(data={**data, "fake_tiers": ["RVFA"]}, model=audio_model(WHISPER, encoders), augment={}, optim=OPTIM)
    pretrain.main([*args, "--name=whole"])
    fill = backbone_cache.fill

    def stopped(*given, advance, **more):
        raise EndedBySignal("stopped")

    monkeypatch.setattr(backbone_cache, "fill", stopped)
    with pytest.raises(EndedBySignal):
        pretrain.main([*args, "--name=parts"])
    monkeypatch.setattr(backbone_cache, "fill", fill)
    pretrain.main([*args, "--name=parts", "--resume", "--optim.epochs=2"])
    whole, parts = (state(tmp_path / "runs" / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_run_does_not_resume_with_another_front(own_store: Path, tmp_path: Path, encoders: Files, stage1):
    data = {"elements": str(own_store / "elements"), "splits": str(own_store / "splits"), "workers": 0}
    optim = {**OPTIM, "epochs": 1}
    model = audio_model(WHISPER, encoders, cache=False)
    args = stage1(data={**data, "fake_tiers": ["RVFA"]}, model=model, augment={}, optim=optim)
    pretrain.main(args)
    for change, key in (
        ("--model.front.head=sls", "model.front.head"),
        ("--model.front.layers=[1]", "model.front.layers"),
        ("--model.front.rate=25", "model.front.rate"),
        ('--augment.waveform={"speed": 0.5}', "augment.waveform"),
    ):
        with pytest.raises(UserError, match=f"made with another '{key}'"):
            pretrain.main([*args, "--resume", change])


def test_a_missing_encoder_is_found_in_a_folder(stage1, tmp_path: Path, encoders: Files):
    moved = tmp_path / "first" / "tiny.pt"
    moved.parent.mkdir()
    moved.write_bytes(encoders["tiny"].read_bytes())
    model = audio_model(WHISPER, {"tiny": moved}, cache=False)
    pretrain.main(stage1(augment={}, optim={**OPTIM, "epochs": 1}, model=model))
    run = tmp_path / "runs" / "one"
    expected = load_run(run, "cpu")
    moved.unlink()
    with pytest.raises(UserError, match=r"first/tiny\.pt: no such file of weights"):
        load_run(run, "cpu")
    found = load_run(run, "cpu", [encoders["tiny"].parent])
    waveform = torch.randn(1, 49_152) / 10
    with torch.no_grad():
        assert torch.equal(found.model(waveform).logit, expected.model(waveform).logit)
    with pytest.raises(UserError, match="no such file"):
        detect.main(["--run", str(run), "--encoders", str(encoders["tiny"].parent), "nothing.wav"])


def test_embedded_weights_need_no_file(stage1, tmp_path: Path, encoders: Files):
    moved = tmp_path / "tiny.pt"
    moved.write_bytes(encoders["tiny"].read_bytes())
    model = audio_model(WHISPER, {"tiny": moved}, embed=True, cache=False)
    pretrain.main(stage1(augment={}, optim={**OPTIM, "epochs": 1}, model=model))
    moved.unlink()
    encoder = load_run(tmp_path / "runs" / "one", "cpu").model.encoder
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.front_end is not None
    start = torch.load(encoders["tiny"])
    ours = {f"encoder.{key}": value for key, value in encoder.front_end.state_dict().items()}
    assert all(torch.equal(start[key], ours[key]) for key in start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"front": {"train_from": 1}}, "train_from and lr_scale go together"),
        ({"front": {"arch": "xls-r-300m"}}, "arch 'xls-r-300m' is none of kind 'whisper'"),
        ({"front": {"layers": [2, 1]}}, r"layers \[2, 1\] must ascend"),
        ({"front": {"head": "sls", "layers": [1]}}, "head 'sls' weights several layers"),
        ({"input": "mel"}, "front takes the waveform"),
        ({"patches": "statistics"}, "statistics beside front are those of spectra"),
        ({"score": "fitted", "front": {"train_from": 1, "lr_scale": 0.1}}, "leave front.train_from out"),
        ({"front": {"weighting": "loudness"}}, "front.weighting is of score 'fitted'"),
    ],
)
def test_inconsistent_configs_are_refused(change: dict[str, Any], message: str, encoders: Files):
    values = audio_model(WHISPER, encoders)
    with pytest.raises(ValueError, match=message):
        AudioModelConfig.model_validate({**values, **change, "front": {**values["front"], **change.get("front", {})}})


def test_layers_beyond_the_encoder_are_refused(encoders: Files):
    with pytest.raises(UserError, match=r"model.front.layers \[3\]: tiny has 2 layers, and so hidden states 0 to 2"):
        encoder_of(WHISPER, encoders, layers=[3])
    with pytest.raises(UserError, match=r"train_from 2 is above the last of layers \[1\]"):
        encoder_of(WHISPER, encoders, layers=[1], train_from=2, lr_scale=0.1)
