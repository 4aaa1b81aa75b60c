"""Countermeasures through the scripts: trained, evaluated, run on files; published weights; windows and whole clips."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

import baseline
import compare
import detect
import evaluate
from avdfd.baselines import countermeasure
from avdfd.config import CountermeasureConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, sha256_of, write_csv
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_wav
from avdfd.evaluation.domain import NOT_TRAINED
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS
from avdfd.features.window import WINDOW
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score
from avdfd.metrics import roc
from avdfd.models.rawnet2 import RawNet2
from avdfd.splits.lists import CLIP_COLUMNS, read_splits
from avdfd.training import weights
from tests.helpers.runs import epochs, make_store, write_config

pytestmark = pytest.mark.usefixtures("in_process")

SMALL = {
    "model": {"arch": "lfcc-lcnn", "samples": 4_000},
    "train": {"lr": 1e-3, "epochs": 2, "batch_size": 8, "schedule": "cosine"},
}


def arguments(folder, data, **changes):
    values = {**SMALL, **changes}
    values["model"] = SMALL["model"] | changes.get("model", {})
    return write_config(folder, data, "countermeasure", "cm", ["RVFA", "FVRA"], values)


@pytest.fixture(scope="module")
def trained(small_store, tmp_path_factory):
    """Folder of a trained run."""
    folder = tmp_path_factory.mktemp("trained")
    baseline.main(arguments(folder, small_store))
    return folder / "runs" / "cm"


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("whole"), whole=(26, 40, 31))


def wav(path, seconds, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32)
    path.write_bytes(encode_wav(noise, 16_000))
    return str(path)


def test_a_trained_run_is_evaluated_and_scores_files(trained, tmp_path, capsys):
    assert all(np.isfinite([line["loss"], line["val_auc"]]).all() for line in epochs(trained))
    run = shutil.copytree(trained, tmp_path / "cm")
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--workers", "0", "--device", "cpu"])
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["kind"], report["main"]) == ("countermeasure", "audio")
    assert "on validation first, which finds out" in report["domain"]["missing"]
    files = [wav(tmp_path / "a.wav", 4), wav(tmp_path / "b.wav", 0.5)]
    capsys.readouterr()
    detect.main(["--json", "--run", str(run), "--device", "cpu", *files])
    said = capsys.readouterr()
    first, second = (json.loads(line) for line in said.out.splitlines())
    assert first["domain"] is None
    assert "--split validation finds out what that looked like" in said.err
    assert first["error"] is None
    assert first["basis"] == "audio alone"
    assert (first["score"], first["visual_score"]) == (first["audio_score"], None)
    assert second["short"]
    assert 0 < second["score"] < 1


def test_a_file_unlike_the_training_data_is_out_of_domain(trained, tmp_path, capsys):
    """A trained run is fitted to white noise."""
    run = shutil.copytree(trained, tmp_path / "cm")
    evaluate.main(["--run", str(run), "--split", "validation", "--bootstrap", "0", "--device", "cpu"])
    time = np.arange(4 * 16_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    (tmp_path / "tone.wav").write_bytes(encode_wav(tone, 16_000))
    capsys.readouterr()
    detect.main(["--json", "--run", str(run), "--device", "cpu", str(tmp_path / "tone.wav")])
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["verdict"] == "out of domain"
    assert line["domain"]["audio"]["percentile"] == 100


@pytest.mark.parametrize("arch", ["rawnet2", "aasist-l"])
def test_the_other_networks_train(arch, store, tmp_path, monkeypatch):
    small = {"channels": (4, 8), "hidden": 8, "layers": 1}
    monkeypatch.setattr(countermeasure, "RawNet2", lambda faithful: RawNet2(**small, faithful=faithful))
    train = {**SMALL["train"], "epochs": 1, "schedule": "halving"}
    baseline.main(arguments(tmp_path, store, model={"arch": arch}, train=train, faithful=True))
    run = load_run(tmp_path / "runs/cm", "cpu")
    assert run.branches == ("audio",)
    assert np.isfinite(epochs(run.folder)[0]["val_loss"])


@pytest.mark.parametrize("arch", ["ssl-aasist", "sls"])
def test_systems_on_an_encoder_are_trained_and_evaluated(arch, store, tmp_path, capsys):
    ssl = {"sizes": {"depth": 2, "dim": 16, "heads": 2, "mlp_dim": 16, "channels": 8}}
    cfg = CountermeasureConfig.model_validate(
        {
            "name": "x",
            "data": {"elements": "x", "splits": "x", "fake_tiers": ["RVFA"]},
            "model": {"arch": arch, "samples": 4_000, "ssl": ssl},
        }
    )
    encoder = countermeasure.rebuild(cfg, "train").ssl_model
    path = tmp_path / "encoder.pt"
    torch.save({key.removeprefix("model."): value for key, value in encoder.state_dict().items()}, path)
    ssl["weights"] = {"file": str(path), "sha256": sha256_of(path)}
    words = arguments(tmp_path, store, model={"arch": arch, "ssl": ssl}, train={**SMALL["train"], "epochs": 1})
    baseline.main(words)
    path.unlink()  # the run has the encoder in it
    run = tmp_path / "runs/cm"
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--workers", "0", "--device", "cpu"])
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["kind"], report["overall"]["clips"]) == ("countermeasure", 12)
    whole = tmp_path / "whole.pth"
    state = weights.load(run / BEST, "countermeasure").model
    torch.save({f"module.{key}": value for key, value in state.items()}, whole)
    baseline.main([*words, "--name=adopted", "--published", str(whole)])
    adopted = weights.load(tmp_path / "runs/adopted" / BEST, "countermeasure").model
    assert all(torch.equal(adopted[key], state[key]) for key in state)


def test_whole_clips_are_trained_on_and_scored_as_files_are(whole_store, tmp_path, capsys):
    model = {"clips": "whole", "samples": 20_000}
    baseline.main(arguments(tmp_path, whole_store, model=model, train={**SMALL["train"], "epochs": 1}))
    run = load_run(tmp_path / "runs/cm", "cpu")
    assert run.media.whole
    elements = ElementStore(whole_store / "elements", whole=True)
    metas = split_metas(run.config, elements, "test")
    alone, together = (
        score(run, ElementSet(elements, metas, run.inputs), batch_size=size).branch["audio"] for size in (1, 9)
    )
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)
    meta = next(meta for meta in metas if meta.end > 1.5)
    samples = elements.read(meta.key, waveform=True, mel=False).waveform
    (tmp_path / "clip.wav").write_bytes(encode_wav(samples, 16_000))
    capsys.readouterr()
    detect.main(["--json", "--run", str(run.folder), "--device", "cpu", str(tmp_path / "clip.wav")])
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["error"] is None
    assert line["score"] == pytest.approx(alone[[*metas].index(meta)], abs=1e-6)
    assert [(one["start"], one["end"]) for one in line["windows"]] == [(0, 1.28)], "20,000 samples are 1.25 s"


def test_published_weights_are_tested_on_all_clips(store, tmp_path, capsys):
    words = arguments(tmp_path, store, faithful=True)
    network = countermeasure.rebuild(load(words[1], CountermeasureConfig), "train")
    path = tmp_path / "LCNN.pth"
    torch.save(network.state_dict(), path)
    baseline.main([*words, "--published", str(path), "--test-all"])
    report = json.loads((tmp_path / "runs/cm/eval/test/report.json").read_text())
    assert report["overall"]["clips"] == 28, "those of all identities"
    assert (report["protocol"]["name"], report["protocol"]["shared_identities"]) == ("published weights", None)
    assert report["domain"] == {"missing": NOT_TRAINED}
    assert "eval/test/report.html" in capsys.readouterr().out
    detect.main(["--run", str(tmp_path / "runs/cm"), "--device", "cpu", wav(tmp_path / "a.wav", 4)])
    assert f"files unlike its training data are not recognised; {NOT_TRAINED}" in capsys.readouterr().err
    with pytest.raises(UserError, match="name it with --published alone"):
        baseline.main([*words, "--test-all"])
    with pytest.raises(UserError, match=r"LCNN\.pth: not a checkpoint of this model"):
        baseline.main([*words, "--model.arch=aasist-l", "--published", str(path)])


def test_published_weights_are_judged_by_page(tmp_path, capsys):
    rng = np.random.default_rng(0)
    with ElementWriter(tmp_path / "speech", {"made": "up"}) as writer:
        for page, person, tier in itertools.product(("a/b", "c/d"), range(2), ("RVRA", "RVFA-VC")):
            source, base = (f"{page}/{person}_{name}.wav" for name in (tier, "RVRA"))
            facts = {"identities": [f"{page}-{person}"], "base": base, "page": page, "race": "", "gender": ""}
            clip = {"tier": tier, "source": source, "sha256": source, "method": "vc", **facts}
            audio = 0.1 * rng.standard_normal(WINDOW)
            writer.add(clip, [{"start": 0.0, "end": 3.072, "parts": encode_audio(audio)}])
    words = arguments(tmp_path, tmp_path, faithful=True)
    torch.save(countermeasure.rebuild(load(words[1], CountermeasureConfig), "train").state_dict(), tmp_path / "x.pth")
    words += [f"--data.elements={tmp_path / 'speech'}", "--published", str(tmp_path / "x.pth"), "--test-all"]
    baseline.main(words)
    assert f"{tmp_path / 'runs/cm-pages.json'}" in capsys.readouterr().out
    found = json.loads((tmp_path / "runs/cm-pages.json").read_text())
    report = json.loads((tmp_path / "runs/cm/eval/test/report.json").read_text())
    assert found["pages"].keys() == {"a/b", "c/d"}
    assert found["pooled"]["auc"] == pytest.approx(report["overall"]["audio"]["auc"])
    compare.main(["--pages", str(tmp_path / "runs/cm"), "--out", str(tmp_path / "out")])
    assert "cm" in capsys.readouterr().out


def test_published_weights_are_tested_as_a_system_trained_on_every_fold_is(store, tmp_path, capsys):
    words = arguments(tmp_path, store, faithful=True)
    cfg = load(words[1], CountermeasureConfig)
    torch.save(countermeasure.rebuild(cfg, "train").state_dict(), tmp_path / "x.pth")
    lists = read_splits(cfg.data.splits)
    rows = [
        (lists.split_of[meta.identities[0]], meta.identities[0], meta.source)
        for meta in ElementStore(cfg.data.elements).metas
        if meta.identities[0] in lists.split_of
    ]
    for fold in (1, 2):
        write_csv(tmp_path / f"folds/fold_{fold}.csv", [CLIP_COLUMNS, *dict.fromkeys(rows)])
    words += ["--published", str(tmp_path / "x.pth"), "--folds", str(tmp_path / "folds")]
    baseline.main(words)
    assert f"{tmp_path / 'runs/cm-folds.json'}" in capsys.readouterr().out
    reports = [json.loads((tmp_path / f"runs/cm-fold_{fold}/eval/test/report.json").read_text()) for fold in (1, 2)]
    found = json.loads((tmp_path / "runs/cm-folds.json").read_text())
    clips = reports[0]["overall"]["clips"]
    assert 0 < clips < 28, "those of the test split alone"
    assert found["pooled"]["clips"] == 2 * clips
    assert found["metrics"]["overall"]["auc"]["folds"] == [report["overall"]["audio"]["auc"] for report in reports]
    assert FALSE_ALARMS in found["pooled"], "at the thresholds of validation"
    with pytest.raises(UserError, match="name it with --published alone"):
        baseline.main([*words, "--test-all"])
    with pytest.raises(UserError, match="name one"):
        baseline.main([*words, "--fold-file", "train_1.txt"])


def test_training_starts_from_released_weights(store, tmp_path):
    words = arguments(tmp_path, store)
    network = countermeasure.rebuild(load(words[1], CountermeasureConfig), "train")
    path = tmp_path / "LCNN.pth"
    torch.save(network.state_dict(), path)
    named = [f'--model.weights={{"file": "{path}", "sha256": "{sha256_of(path)}"}}', "--train.lr=1e-12"]
    baseline.main([*words, *named, "--train.epochs=1"])
    state = weights.load(tmp_path / "runs/cm" / BEST, "countermeasure").model
    torch.testing.assert_close(state["out.weight"], network.state_dict()["out.weight"])
    with pytest.raises(UserError, match="the config expects 00"):
        baseline.main([*words, f'--model.weights={{"file": "{path}", "sha256": "00"}}', "--name=x"])


def test_frozen_encoder_stays_as_released_and_its_features_are_cached(store, tmp_path, capsys):
    words = arguments(tmp_path, store, faithful=True, model={"arch": "aasist-l"})
    released = countermeasure.rebuild(load(words[1], CountermeasureConfig), "train").state_dict()
    path = tmp_path / "AASIST-L.pth"
    torch.save(released, path)
    words += [f'--model.weights={{"file": "{path}"}}', "--model.frozen_encoder=true", "--train.epochs=1"]
    baseline.main(words)
    assert "cache: frozen features of 24 clips" in capsys.readouterr().out
    trained = weights.load(tmp_path / "runs/cm" / BEST, "countermeasure").model
    same = {key for key in released if torch.equal(trained[key], released[key])}
    assert {key for key in released if key.startswith(("encoder.", "first_bn."))} <= same
    assert not {"out_layer.weight", "pos_S", "GAT_layer_S.bn.running_mean"} & same
    [epoch] = epochs(tmp_path / "runs/cm")
    run = load_run(tmp_path / "runs/cm", "cpu")
    elements = ElementStore(run.config.data.elements)
    metas = split_metas(run.config, elements, "validation")
    scores = score(run, ElementSet(elements, metas, run.inputs)).branch["audio"]
    labels = np.array([float(sum(meta.window) > 0) for meta in metas])
    assert epoch["val_auc"] == pytest.approx(roc.auc(labels, scores)), "as of the audio itself"
