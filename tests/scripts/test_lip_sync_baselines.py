"""SpeechForensics, AVH-Align, the linear probe and SyncNet by the scripts, with drawn weights in the published form."""

import argparse
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import baseline
import detect
import evaluate
from avdfd.core.errors import UserError
from avdfd.core.files import sha256_of
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.evaluation.counterfactuals import cases
from avdfd.evaluation.domain import NOT_TRAINED
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score, score_windows
from avdfd.models.avh_align import AlignmentHead
from avdfd.models.avhubert_features import FrozenAVHubert
from avdfd.models.syncnet import SyncNet
from avdfd.training import backbone_cache, checkpoint
from tests.helpers.avhubert import SIZES, drawn_weights
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.recordings import clicks, record
from tests.helpers.runs import epochs, make_store, write_config

KINDS = ("speechforensics", "avhalign", "probe", "syncnet")
WITHOUT_TRAINING = ("speechforensics", "syncnet")
RECIPE = {"lr": 1e-3, "epochs": 2, "batch_size": 4, "precision": "fp32"}
WIDTH = 1 / 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store in which features are cached."""
    return make_store(tmp_path_factory.mktemp("data"), landmarks=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write drawn weights as the authors' files have them; return them by system."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    syncnet = SyncNet(width=WIDTH)
    syncnet(255 * torch.rand(2, 3, 8, 224, 224), torch.randn(2, 13, 32), reach=1)  # changes the running statistics
    head = AlignmentHead(dim=SIZES["dim"], width=32).state_dict()
    contents = {
        "avhubert": {"model": drawn_weights(), "args": argparse.Namespace(arch="av_hubert"), "optimizer_history": []},
        "head": {"epoch": 3, "state_dict": head, "best_val_loss": 1.0, "args": argparse.Namespace(tau=15)},
        "syncnet": syncnet.state_dict(),
    }
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.pt")
    return {name: folder / f"{name}.pt" for name in contents}


def sections(kind, files):
    encoder = {**SIZES, "file": str(files["avhubert"]), "sha256": sha256_of(files["avhubert"])}
    return {
        "speechforensics": {"model": {"encoder": encoder}},
        "avhalign": {"model": {"encoder": encoder, "width": 32}, "align": RECIPE},
        "probe": {"model": {"encoder": encoder}, "train": RECIPE},
        "syncnet": {"model": {"weights": str(files["syncnet"]), "width": WIDTH}},
    }[kind]


@pytest.fixture
def config(data, files, tmp_path):
    def config(kind, name=None, **model):
        values = sections(kind, files)
        values["model"] = values["model"] | model
        return write_config(tmp_path, data, kind, name or kind, ["RVFA", "FVRA"], values)

    return config


@pytest.fixture(scope="module")
def runs(data, files, tmp_path_factory):
    """Make the run of every system once."""
    folder = tmp_path_factory.mktemp("made")
    for kind in KINDS:
        baseline.main(write_config(folder, data, kind, kind, ["RVFA", "FVRA"], sections(kind, files)))
    return folder / "runs"


def message(arguments, script=baseline):
    with pytest.raises(UserError) as error:
        script.main(arguments)
    return str(error.value)


def test_a_system_without_training_has_a_run_of_its_weights(runs, files):
    for kind in WITHOUT_TRAINING:
        assert not (runs / kind / "metrics.jsonl").exists()
        assert load_run(runs / kind, "cpu").trains_on_fakes is False
    weights = load_run(runs / "syncnet", "cpu").model.state_dict()
    drawn = torch.load(files["syncnet"])
    assert weights.keys() == drawn.keys()
    assert all(torch.equal(weights[key], drawn[key]) for key in drawn)
    for kind in ("speechforensics", "avhalign", "probe"):
        weights = load_run(runs / kind, "cpu").model.encoder.avhubert.state_dict()
        assert all(torch.equal(value, drawn_weights()[key]) for key, value in weights.items())


def test_heads_are_trained_with_and_without_labels(runs):
    for kind, labelled in (("avhalign", False), ("probe", True)):
        lines = epochs(runs / kind)
        assert [line["epoch"] for line in lines] == [1, 2]
        assert lines[1]["loss"] < lines[0]["loss"]
        assert ("val_auc" in lines[0]) is labelled
        assert load_run(runs / kind, "cpu").trains_on_fakes is labelled


@pytest.mark.parametrize("kind", KINDS)
def test_clips_are_compared_with_the_training_data_if_there_is_any(kind, runs, tmp_path):
    run = shutil.copytree(runs / kind, tmp_path / kind)
    evaluate.main(["--run", str(run), "--split", "validation", "--bootstrap", "0", "--device", "cpu"])
    domain = json.loads((run / "eval/validation/report.json").read_text())["domain"]
    if kind in WITHOUT_TRAINING:
        assert domain == {"missing": NOT_TRAINED}
    else:
        assert domain["branches"] == ["audio", "visual"]
        assert domain["facts"]["corpus"]["tiers"] == (["RVRA"] if kind == "avhalign" else ["FVRA", "RVFA", "RVRA"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_does_not_depend_on_the_batch(kind, runs, data):
    run = load_run(runs / kind, "cpu")
    store = ElementStore(data / "elements")
    metas = split_metas(run.config, store, "test")[:3]
    together = score(run, ElementSet(store, metas, run.inputs), batch_size=3)
    alone = score(run, ElementSet(store, metas, run.inputs), batch_size=1)
    windows = [
        replace(store.read(meta.key, waveform=True, frames=range(77), landmarks=True), meta=None) for meta in metas[:2]
    ]
    in_memory = score_windows(run, windows)
    assert tuple(together.branch) == run.branches
    for branch, values in together.branch.items():
        assert len(np.unique(values)) == 3
        np.testing.assert_allclose(alone.branch[branch], values, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(in_memory.branch[branch], values[:2], rtol=1e-4, atol=1e-6)


def test_features_are_computed_once_for_a_store(runs, data, config, tmp_path, monkeypatch):
    folders = {path for path in (data / "elements" / backbone_cache.FOLDER).iterdir() if path.is_dir()}
    columns = [sorted(json.loads((path / "about.json").read_text())["columns"]) for path in folders]
    assert columns == [["audio", "video"]], "both systems take the same features"
    real = epochs(runs / "avhalign")
    compute, computed = FrozenAVHubert._compute, []

    def counted(self, video, audio):
        computed.append(len(video))
        return compute(self, video, audio)

    monkeypatch.setattr(FrozenAVHubert, "_compute", counted)
    baseline.main(config("avhalign"))
    assert epochs(tmp_path / "runs" / "avhalign") == real
    assert computed == [1], "an empty clip, by which the shapes are found"
    baseline.main([*config("avhalign", "live"), "--cache=false"])
    for cached, live in zip(real, epochs(tmp_path / "runs" / "live"), strict=True):
        assert live["loss"] == pytest.approx(cached["loss"], rel=1e-3), "features are kept in half precision"


def test_an_interrupted_run_resumes_to_the_same_result(runs, config, tmp_path, monkeypatch):
    save_last = checkpoint.save_last

    def interrupted(*arguments, **names):
        save_last(*arguments, **names)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_last", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            baseline.main([*config("avhalign"), "--resume"])
    baseline.main([*config("avhalign"), "--resume"])
    assert epochs(tmp_path / "runs" / "avhalign") == epochs(runs / "avhalign")
    one, cut = (load_run(folder / "avhalign", "cpu").model.state_dict() for folder in (runs, tmp_path / "runs"))
    assert all(torch.equal(one[key], cut[key]) for key in one)


def test_a_published_head_takes_the_place_of_training(config, files, data, tmp_path):
    baseline.main(config("avhalign", "released", head={"file": str(files["head"]), "sha256": sha256_of(files["head"])}))
    run = load_run(tmp_path / "runs" / "released", "cpu")
    assert not (run.folder / "metrics.jsonl").exists()
    drawn = torch.load(files["head"], weights_only=False)["state_dict"]
    assert all(torch.equal(value, drawn[key]) for key, value in run.model.head.state_dict().items())


@pytest.mark.parametrize("features", ["audio", "video", "joint"])
def test_the_probe_takes_the_streams_that_are_wanted(features, config, tmp_path):
    baseline.main([*config("probe", features=features), "--train.epochs=1"])
    run = load_run(tmp_path / "runs" / "probe", "cpu")
    assert run.model.encoder.streams == {features}
    assert run.model.head.in_features == SIZES["dim"]


def test_reports_and_counterfactuals(runs, tmp_path, monkeypatch):
    shutil.copytree(runs, tmp_path / "runs")
    monkeypatch.setattr(cases, "SHIFTS", (400,))
    monkeypatch.setattr(cases, "SWAPS", 1)
    ours, other = (str(tmp_path / "runs" / kind) for kind in ("avhalign", "syncnet"))
    evaluate.main(
        ["--run", ours, "--against", other, "--counterfactuals", "--clips", "1", "--tiers", "RVFA", "--bootstrap", "10"]
    )
    report = json.loads((tmp_path / "runs/avhalign/eval/test/report.json").read_text())
    columns = {"mean", "fused", "syncnet"}
    assert columns <= report["overall"].keys()
    assert report["counterfactuals"]["verdicts"].keys() == columns
    assert (tmp_path / "runs/avhalign/eval/test/report.html").is_file()


@pytest.mark.parametrize("kind", ["avhalign", "syncnet"])
@pytest.mark.usefixtures("in_process")
def test_a_video_of_ones_own(kind, runs, tmp_path, capsys):
    times = [n / 25 for n in range(80)]
    audio = clicks(3.2, 16_000, [1.0, 2.0])
    images = [scene([Place(130, 130)])] * len(times)
    video = record(tmp_path / "face.mp4", times, audio, rate=16_000, size=SIZE, images=images)
    assert detect.main([str(video), "--run", str(runs / kind), "--device", "cpu", "--json"]) == 0
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert 0 < line["score"] < 1
    assert line["verdict"] in ("real", "fake")


def test_folds_without_training(config, data, tmp_path, capsys):
    (tmp_path / "folds").mkdir()
    for number, tested in ((1, "id5"), (2, "id6")):
        lines = ["split,identity,source"]
        for meta in ElementStore(data / "elements").metas:
            if meta.start == 0:
                (identity,) = meta.identities
                split = "test" if identity == tested else "validation" if identity == "id3" else "train"
                lines.append(f"{split},{identity},{meta.source}")
        (tmp_path / "folds" / f"fold_{number}.csv").write_text("\n".join(lines) + "\n")
    baseline.main([*config("speechforensics"), "--folds", str(tmp_path / "folds")])
    assert "2 folds, fused score" in capsys.readouterr().out


def test_wrong_requests(config, files, tmp_path):
    assert "no such" in message(config("speechforensics", encoder={**SIZES, "file": "missing.pt"}))
    wrong = {**SIZES, "file": str(files["avhubert"]), "sha256": "0" * 64}
    assert "sha256 is" in message(config("avhalign", encoder=wrong))
    assert "not a checkpoint of this model" in message(config("syncnet", width=1.0))
    assert "not a checkpoint of this model" in message(config("avhalign", head=str(files["syncnet"])))
    assert "layer 3 is more than the 2 encoder_layers" in message(
        config("probe", encoder={**SIZES, "file": str(files["avhubert"]), "layer": 3})
    )
    for kind in KINDS:
        assert "x.pt: " in message([*config(kind), "--published", "x.pt"])
    assert not (tmp_path / "runs").exists()


def test_whole_clips_are_refused(config, tmp_path_factory):
    whole = make_store(tmp_path_factory.mktemp("whole"), whole=[30])
    assert "whole clips" in message([*config("avhalign"), f"--data.elements={whole / 'elements'}"])


def test_elements_without_landmarks_are_refused(config, small_store):
    assert "has no landmarks" in message([*config("avhalign"), f"--data.elements={small_store / 'elements'}"])


def test_weights_that_would_run_code_are_refused(config, tmp_path):
    torch.save({"model": {"x": torch.zeros(1)}, "cfg": PurePosixPathLike()}, tmp_path / "bad.pt")
    assert "would run code" in message(config("speechforensics", encoder={**SIZES, "file": str(tmp_path / "bad.pt")}))


class PurePosixPathLike:
    """A class that no published checkpoint has."""
