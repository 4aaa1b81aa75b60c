"""VFD by the scripts: its two stages, frozen networks, and the folders and lists of its own format."""

import csv
import json
import shutil

import pytest
import torch

import baseline
import evaluate
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.evaluation.counterfactuals.case import NOT_OF_IMAGES
from avdfd.inference.runs import load_run
from avdfd.splits.lists import read_splits
from avdfd.training import weights
from data.preprocessing import make_splits
from tests.helpers.runs import epochs, write_config
from tests.helpers.vfd import SMALL, make_dfdc, make_list, make_voxceleb
from tests.paths import ROOT, VFD_SAMPLE


@pytest.fixture
def config(store, tmp_path):
    def config(**changes):
        return write_config(tmp_path, store, "vfd", "vfd", ["RVFA", "FVRA"], SMALL | changes)

    return config


@pytest.fixture(scope="module")
def runs(small_store, tmp_path_factory):
    """Train both stages once; return the folder of their runs."""
    folder = tmp_path_factory.mktemp("vfd")
    baseline.main(write_config(folder, small_store, "vfd", "vfd", ["RVFA", "FVRA"], SMALL))
    return folder / "runs"


@pytest.fixture
def trained(runs, tmp_path):
    """Copy the trained runs; return that of the last stage."""
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs" / "vfd"


def message(arguments, script=baseline):
    with pytest.raises(UserError) as error:
        script.main(arguments)
    return str(error.value)


def test_the_matching_stage_scores_without_training_on_fakes(trained):
    assert load_run(trained.with_name("vfd-match"), "cpu").branches == ("fused",)


def test_frozen_networks_learn_a_scale_only(config, tmp_path):
    baseline.main([*config(), "--stage", "match"])
    before = load_run(tmp_path / "runs" / "vfd-match", "cpu").model.state_dict()
    files = {}
    for name in ("face", "voice"):
        files[name] = {"file": str(tmp_path / f"{name}.pt")}
        prefix = f"networks.{name}."
        torch.save({k.removeprefix(prefix): v for k, v in before.items() if k.startswith(prefix)}, files[name]["file"])
    model = {**SMALL["model"], **files, "frozen": True}
    with pytest.raises(UserError, match=r"face\.pt|vfd2022-face: not a checkpoint"):
        baseline.main([*config(model=model, name="zero"), "--stage", "match"])  # not the published size
    changes = {"model": {**SMALL["model"], "frozen": True}, "match": {"lr": 0.1, "epochs": 2, "batch_size": 4}}
    baseline.main([*config(name="zero", **changes), "--stage", "match"])
    after = load_run(tmp_path / "runs" / "zero-match", "cpu").model
    assert after.log_slope != 0
    assert after.spread.num_batches_tracked > 0
    assert all(after.state_dict()[k] == 0 for k in before if k.startswith("networks.") and "num_batches" in k)


def vfd_folder(root):
    names = [f"clip{number}" for number in range(6)]
    return make_dfdc(root, names[:3], names[3:])


def folder_config(tmp_path, elements, lists, **changes):
    """Write the config of a VFD run on folders of its own format."""
    values = SMALL | {"name": "folders", "runs": str(tmp_path / "runs"), "device": "cpu", "kind": "vfd"}
    data = {"elements": str(elements), "splits": str(lists), "fake_tiers": ["FAKE"], "workers": 0}
    (tmp_path / "folders.json").write_text(json.dumps({**values, "pair_by": "any", "data": data, **changes}))
    return ["--config", str(tmp_path / "folders.json")]


def test_vfd_trains_and_is_tested_on_a_folder_of_both_data_sets(tmp_path, capsys):
    """Both stages and the test, each by one command, with the fewest identities."""
    make_voxceleb(tmp_path / "data" / "Voxceleb2", ["id1"], clips=3)
    make_dfdc(tmp_path / "data" / "DFDC", [f"r{i}" for i in range(4)], [f"f{i}" for i in range(3)])
    make_splits.main(["vfd", "--elements", str(tmp_path / "data"), "--out", str(tmp_path / "lists")])
    run = tmp_path / "runs" / "folders"
    baseline.main(folder_config(tmp_path, tmp_path / "data", tmp_path / "lists" / "vfd.csv"))
    evaluate.main(["--run", str(run), "--device", "cpu", "--bootstrap", "0"])
    assert "FAKE" in capsys.readouterr().out
    assert [line["epoch"] for line in epochs(run)] == [1, 2]
    facts = weights.load(tmp_path / "runs" / "folders-match" / BEST, "vfd").facts
    assert facts.stage == "match"
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["overall"]["clips"], report["overall"]["fake_clips"]) == (2, 1)


def test_every_stage_of_vfd_may_have_its_own_folder(tmp_path):
    make_voxceleb(tmp_path / "vox", ["id1", "id2", "id3", "id4", "id5"])
    make_dfdc(tmp_path / "dfdc", ["r1", "r2", "r3"], ["f1", "f2", "f3"])
    for name in ("vox", "dfdc"):
        make_splits.main(["vfd", "--elements", str(tmp_path / name), "--out", str(tmp_path / f"{name}-lists")])
    lists = {name: tmp_path / f"{name}-lists" / "vfd.csv" for name in ("vox", "dfdc")}
    own = {"elements": str(tmp_path / "vox"), "splits": str(lists["vox"])}
    match = {**SMALL["match"], "data": own}
    baseline.main(folder_config(tmp_path, tmp_path / "dfdc", lists["dfdc"], match=match))
    runs = tmp_path / "runs"
    data = {name: weights.load(runs / name / BEST, "vfd").facts.config.data for name in ("folders-match", "folders")}
    assert (data["folders-match"].elements, data["folders"].elements) == (own["elements"], str(tmp_path / "dfdc"))
    assert data["folders-match"].splits == own["splits"]
    split_of = read_splits(own["splits"]).split_of
    seen = next(identity for identity, split in split_of.items() if split == "train")
    make_dfdc(tmp_path / "other", [f"{seen}_b"], ["f9"])
    request = ["--run", str(runs / "folders"), "--elements", str(tmp_path / "other"), "--split", "all"]
    assert f"identity '{seen}' of the all elements is in its train list ({own['splits']})" in message(request, evaluate)


def test_vfd_2023_trains_and_is_tested_on_lists_of_images(tmp_path):
    labels = {f"r{i}/r{i}_00001": 0 for i in range(5)} | {f"f{i}/f{i}_00001": 1 for i in range(3)}
    images = make_list(tmp_path / "dfdc", labels)
    make_splits.main(["vfd", "--elements", str(images), "--out", str(tmp_path)])
    model = {"year": 2023, "image_size": 32, "dim": 16, "depth": 1, "heads": 2, "out_dim": 8}
    baseline.main(folder_config(tmp_path, images, tmp_path / "vfd.csv", model=model))
    run = tmp_path / "runs" / "folders"
    evaluate.main(["--run", str(run), "--device", "cpu", "--bootstrap", "0"])
    assert json.loads((run / "eval/test/report.json").read_text())["overall"]["clips"] == 2
    other = make_list(tmp_path / "other", {"x/x_1": 0, "x/x_2": 0, "y/y_1": 1})
    evaluate.main(
        ["--run", str(run), "--elements", str(other), "--split", "all", "--device", "cpu", "--bootstrap", "0"]
    )
    assert json.loads((run / "eval/all/report.json").read_text())["overall"]["clips"] == 3
    section = counterfactuals(run, other)
    assert {*section["replaced"]} == {"own", "fixed_audio", "fixed_video", "reversed"}  # voices are waveforms
    assert "reversed" not in section["left_out"]


def test_lists_of_vfd_folders_that_are_too_small(tmp_path):
    make_dfdc(tmp_path / "data", ["r1", "r2", "r3"], ["f1", "f2", "f3"])
    make_splits.main(["vfd", "--elements", str(tmp_path / "data"), "--out", str(tmp_path)])
    arguments = folder_config(tmp_path, tmp_path / "data", tmp_path / "vfd.csv")
    assert "matching contrasts identities, but a split has one: it takes two for training and two" in message(arguments)
    data = {"elements": str(tmp_path / "data"), "splits": str(tmp_path / "vfd.csv"), "fake_tiers": ["RVFA"]}
    weights_of = {"face": {"file": "x"}, "voice": {"file": "x"}}
    arguments = folder_config(tmp_path, "", "", data=data, model={**SMALL["model"], **weights_of})
    assert "has only real elements of the wanted tiers (it has FAKE, RVRA); check the tiers" in message(arguments)
    assert not (tmp_path / "runs").exists(), "nothing is half-written"


def test_vfd_scores_a_folder_of_its_own_format(trained, tmp_path, capsys):
    run, folder = str(trained), vfd_folder(tmp_path / "dfdc")
    evaluate.main(["--run", run, "--elements", str(folder), "--split", "all", "--workers", "1", "--device", "cpu"])
    assert "FAKE" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "runs/vfd/eval/all/scores.csv").read_text().splitlines()))
    assert len(rows) == len({row["fused"] for row in rows}) == 6, "six clips, six scores"
    unchanged = message(["--run", run, "--elements", str(folder), "--split", "all", "--robustness", "noise"], evaluate)
    assert "--robustness needs audio and video, which a VFD folder does not have" in unchanged
    (folder / "audio_feat" / "clip4.npy").write_bytes(b"broken")
    damaged = message(["--run", run, "--elements", str(folder), "--split", "all", "--workers", "0"], evaluate)
    assert "clip4.npy: not a complete .npy of plain numbers" in damaged
    (folder / "audio_feat" / "clip4.npy").unlink()
    missing = message(["--run", run, "--elements", str(folder), "--split", "all"], evaluate)
    assert "1 files are no clips, e.g. fake/clip4.jpg: a face without a voice: audio_feat/clip4.npy" in missing


def counterfactuals(run, elements):
    request = ["--run", str(run), "--elements", str(elements), "--split", "all", "--device", "cpu"]
    evaluate.main([*request, "--counterfactuals", "--bootstrap", "20", "--workers", "0"])
    return json.loads((run / "eval/all/report.json").read_text())["counterfactuals"]


def test_whose_voice_it_is_can_be_asked_of_a_folder_but_not_when(trained, tmp_path, capsys):
    section = counterfactuals(trained, vfd_folder(tmp_path / "dfdc"))
    assert section["stranger"]["clips"] == 3
    assert {*section["replaced"]} == {"own", "fixed_audio", "fixed_video"}
    assert section["shifts"] == []
    assert section["left_out"]["shift 400 ms"] == section["left_out"]["shuffled"] == NOT_OF_IMAGES
    assert [*section["verdicts"]["fused"]["checks"]] == ["stranger"]
    text = capsys.readouterr().out
    assert "; order and time not applicable to a single frame)." in text
    assert "not applicable to one image and one stretch of voice for each clip." in text


@pytest.mark.skipif(not VFD_SAMPLE.is_dir(), reason="the authors' sample is not here")
def test_the_authors_sample_trains_and_is_tested(tmp_path):
    make_splits.main(["vfd", "--elements", str(VFD_SAMPLE), "--out", str(tmp_path)])
    small = SMALL["model"]
    sizes = [f"--model.{key}={value}" for key, value in small.items()]
    data = [f"--data.elements={VFD_SAMPLE}", f"--data.splits={tmp_path / 'vfd.csv'}", "--data.workers=0"]
    short = ["--match.epochs=1", "--finetune.epochs=1", f"--runs={tmp_path / 'runs'}", "--device=cpu"]
    baseline.main(["--config", str(ROOT / "config/vfd_folders.json"), *data, *sizes, *short])
    run = tmp_path / "runs" / "vfd-folders"
    evaluate.main(["--run", str(run), "--device", "cpu", "--bootstrap", "0"])
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["overall"]["clips"], report["overall"]["fake_clips"]) == (2, 1)
    rows = list(csv.DictReader((run / "eval/test/scores.csv").read_text().splitlines()))
    assert len({row["fused"] for row in rows}) == 2, "scores are not all 1"


SAMPLE = VFD_SAMPLE / "DFDC"


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the authors' sample is not here")
def test_the_authors_sample_is_scored(trained, tmp_path):
    run = str(trained)
    evaluate.main(["--run", run, "--elements", str(SAMPLE), "--split", "all", "--workers", "0", "--device", "cpu"])
    report = json.loads((tmp_path / "runs/vfd/eval/all/report.json").read_text())
    assert (report["overall"]["clips"], report["overall"]["fake_clips"]) == (10, 5)
