"""Runs of published checkpoints."""

import csv
import json

import numpy as np
import torch

import baseline
import evaluate
from avdfd.baselines import mrdf
from avdfd.config import MrdfConfig, load
from avdfd.core.files import BEST
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score
from avdfd.training import weights
from tests.helpers.baselines import SYSTEMS, message


def test_a_run_of_a_published_checkpoint(config, store, tmp_path):
    """A run trained as released, saved in its authors' format and adopted gives the same scores."""
    for kind, changes in (
        ("avff", {"loss": {"adversarial": 0.0}}),
        ("mrdf", {"model": {**SYSTEMS["mrdf"]["model"], "encoder_layers": 0}}),
    ):
        baseline.main(config(kind, faithful=True, **changes))
        trained = weights.load(tmp_path / "runs" / kind / BEST, kind).model
        path = tmp_path / f"{kind}.ckpt"
        torch.save({"state_dict": trained, "epoch": 1}, path)
        baseline.main([*config(kind, faithful=True, name=f"{kind}-published", **changes), "--published", str(path)])
        one, two = (load_run(tmp_path / "runs" / name, "cpu") for name in (kind, f"{kind}-published"))
        elements = ElementStore(store / "elements")
        metas = split_metas(one.config, elements, "test")
        scores = [score(run, ElementSet(elements, metas, run.inputs)).branch["fused"] for run in (one, two)]
        np.testing.assert_array_equal(*scores)
        corrected = [*config(kind, name="x"), "--published", str(path)]
        assert f"{kind}.ckpt: not a checkpoint of this model" in message(corrected), "it computes something else"
    assert "two networks without a threshold" in message([*config("vfd"), "--published", "x.pth"])
    assert not (tmp_path / "runs" / "x").exists()


def test_a_published_checkpoint_on_its_authors_fold(whole_config, tmp_path, capsys):
    """MRDF's own test command: a checkpoint and the list of its fold."""
    arguments = whole_config("mrdf", faithful=True, model={"encoder_layers": 0})
    cfg = load(arguments[1], MrdfConfig)
    torch.save({"state_dict": mrdf.rebuild(cfg, "train").state_dict()}, tmp_path / "MRDF_CE_train_2.ckpt")
    arguments += ["--published", str(tmp_path / "MRDF_CE_train_2.ckpt"), "--fold-file", str(tmp_path / "train_2.txt")]
    (tmp_path / "train_2.txt").write_text("source\nid1\nid2\nid3\nid4\nid5\n")
    folders = {"A": "RealVideo-RealAudio", "B": "RealVideo-FakeAudio", "C": "FakeVideo-RealAudio"}
    lines = ["source,category,type,race,gender,path"]
    lines += [f"id{i},{c},{folder},Asian,men,00000.mp4" for c, folder in folders.items() for i in range(1, 8)]
    (tmp_path / "meta_data.csv").write_text("\n".join(lines))
    baseline.main(arguments)
    out = capsys.readouterr().out
    assert "train_2.txt: 0 of 6 test clips show an identity that the checkpoint was trained on" in out
    run = tmp_path / "runs" / "mrdf-train_2"
    report = json.loads((run / "eval/test/report.json").read_text())
    assert (report["overall"]["clips"], report["overall"]["fake_clips"]) == (6, 4)
    assert report["protocol"]["shared_identities"] == [0, 6]
    assert report["protocol"]["trained_tiers"] == []
    page = (run / "eval/test/report.html").read_text()
    assert "published weights: trained by their authors" in page
    assert "As published: 0 of 6 clips show" in page
    rows = list(csv.DictReader((run / "eval/test/scores.csv").read_text().splitlines()))
    assert {row["clip"].split("/")[3] for row in rows} == {"id6", "id7"}
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--device", "cpu"])  # like any other run, later
    (tmp_path / "meta_data.csv").write_text("\n".join([*lines, "id8,A,RealVideo-RealAudio,Asian,men,00000.mp4"]))
    assert "1 of its 7 test clips have no elements" in message([*arguments, "--name=x"])
    assert not (tmp_path / "runs" / "x-train_2").exists()
    assert "name it with --published" in message([*arguments[:2], "--fold-file", "train_2.txt"])
