"""baseline.py trains every system and stage; runs can be interrupted, resumed and trained on folds."""

import json

import numpy as np
import pytest
import torch

import baseline
from avdfd.core.files import BEST
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score
from avdfd.training import checkpoint, weights
from tests.helpers.baselines import RECIPE, SYSTEMS
from tests.helpers.runs import epochs


@pytest.mark.parametrize("kind", SYSTEMS)
def test_all_stages_and_scores(kind, trained, store, tmp_path):
    trained(kind)
    runs = tmp_path / "runs"
    stages = {"avff": ["avff-pretrain"], "mrdf": [], "vfd": ["vfd-match"]}[kind]
    assert {p.name for p in runs.iterdir()} == {kind, *stages}
    for name in (kind, *stages):
        lines = epochs(runs / name)
        assert [line["epoch"] for line in lines] == [1, 2]
        assert all(np.isfinite(line["loss"]) and np.isfinite(line["val_loss"]) for line in lines)
        assert ("val_auc" in lines[0]) == (name == kind), "only a stage trained on fakes has an AUC"
    run = load_run(runs / kind, "cpu")
    elements = ElementStore(store / "elements")
    metas = split_metas(run.config, elements, "test")
    scores = score(run, ElementSet(elements, metas, run.inputs), batch_size=5)
    assert tuple(scores.branch) == run.branches
    assert run.branches[-1] == "fused"
    assert all(((p >= 0) & (p <= 1)).all() and len(p) == len(metas) for p in scores.branch.values())


@pytest.mark.parametrize(("kind", "year"), [("vfd", 2023), ("mrdf", None)])
def test_other_variants(kind, year, config, tmp_path):
    if kind == "vfd":
        model = {"year": year, "image_size": 32, "dim": 16, "depth": 1, "heads": 2, "out_dim": 8}
        baseline.main(config(kind, model=model, loss={"negatives": 3}))
        assert load_run(tmp_path / "runs" / kind, "cpu").branches == ("fused",)
        return
    for variant in ("margin", "plain", "ensemble", "multilabel", "multiclass"):
        model = {**SYSTEMS["mrdf"]["model"], "variant": variant}
        baseline.main(config(kind, model=model, name=variant, train={**RECIPE, "epochs": 1}))
        assert load_run(tmp_path / "runs" / variant, "cpu").branches[-1] == "fused"


@pytest.mark.parametrize("kind", SYSTEMS)
def test_an_interrupted_run_resumes_to_the_same_result(kind, trained, config, tmp_path, monkeypatch):
    trained(kind)
    save_last = checkpoint.save_last

    def interrupted(*arguments, **names):
        save_last(*arguments, **names)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_last", interrupted)
    cuts = 0
    while cuts < 10:
        try:
            baseline.main([*config(kind, name="cut"), "--resume"])
        except KeyboardInterrupt:
            cuts += 1
        else:
            break
    assert cuts == 2 * len(baseline.SYSTEMS[kind].STAGES), "after every epoch"
    assert epochs(tmp_path / "runs" / "cut") == epochs(tmp_path / "runs" / kind)
    one, cut = (load_run(tmp_path / "runs" / name, "cpu").model.state_dict() for name in (kind, "cut"))
    assert all(torch.equal(one[key], cut[key]) for key in one)


def test_loader_processes_change_nothing(trained, config, store, tmp_path):
    assert weights.load(trained("mrdf") / BEST, "mrdf").facts.config.data.workers == 0
    data = {"elements": str(store / "elements"), "splits": str(store / "splits"), "fake_tiers": ["RVFA", "FVRA"]}
    baseline.main(config("mrdf", name="w2", data={**data, "workers": 2}))
    assert epochs(tmp_path / "runs" / "mrdf") == epochs(tmp_path / "runs" / "w2")


def test_folds_from_lists_to_summary(store, tmp_path, config, capsys):
    folder = tmp_path / "folds"
    folder.mkdir()
    metas = ElementStore(store / "elements").metas
    for number, (tested, held) in enumerate((("id1", "id2"), ("id3", "id4")), start=1):
        lines = ["split,identity,source"]
        for source, identity in sorted({(meta.source, meta.identities[0]) for meta in metas}):
            split = "test" if identity == tested else "validation" if identity == held else "train"
            lines.append(f"{split},{identity},{source}")
        (folder / f"fold_{number}.csv").write_text("\n".join(lines) + "\n")
    baseline.main([*config("mrdf", train={**RECIPE, "epochs": 1}), "--folds", str(folder)])
    assert "2 folds, fused score" in capsys.readouterr().out
    summary = json.loads((tmp_path / "runs" / "mrdf-folds.json").read_text())
    folds = [
        json.loads((tmp_path / f"runs/mrdf-fold_{n}/eval/test/report.json").read_text())["overall"]["fused"]["auc"]
        for n in (1, 2)
    ]
    assert summary["metrics"]["overall"]["auc"]["folds"] == folds
    assert summary["metrics"]["overall"]["auc"]["mean"] == pytest.approx(np.mean(folds))
