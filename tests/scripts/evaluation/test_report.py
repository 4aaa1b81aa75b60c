"""evaluate.py from a run and a store on disk to its three files."""

import shutil

import numpy as np
import pytest

import evaluate
from avdfd.datasets.loaders import ElementSet
from avdfd.elements import ElementStore
from avdfd.inference import scoring
from avdfd.inference.runs import load_run
from avdfd.metrics import roc
from tests.helpers.evaluation import BRANCHES, report_of, rows_of
from tests.helpers.runs import SPLITS, TIERS, make_run, make_store


def test_report_holds_the_metrics_of_the_scores(evaluated):
    result, rows = report_of(evaluated), rows_of(evaluated)
    assert result["branches"] == BRANCHES
    assert list(result["tiers"]) == [t for t in TIERS if t != "RVRA"]  # of the store, not only those trained on
    assert len(rows) == len(SPLITS["test"]) * len(TIERS)
    assert {row["identity"] for row in rows} == set(SPLITS["test"])
    for tier, section in result["tiers"].items():
        chosen = [row for row in rows if row["tier"] in ("RVRA", tier)]
        labels = [int(row["label"]) for row in chosen]
        assert (section["clips"], section["windows"], section["identities"]) == (6, 12, 3)
        for branch in BRANCHES:
            scores = [float(row[branch]) for row in chosen]
            assert section[branch]["auc"] == roc.auc(labels, scores)
            assert section[branch]["eer"] == roc.eer(labels, scores)
            low, high = section[branch]["auc_interval"]
            assert 0 <= low <= high <= 1
    assert result["split"] == "test"
    assert result["config"]["name"] == "train"


def test_scores_are_those_of_the_model(evaluated):
    run = load_run(evaluated, "cpu")
    store = ElementStore(run.config.data.elements)
    row = rows_of(evaluated)[3]
    metas = [m for m in store.metas if m.source == row["clip"]]
    scores = scoring.score(run, ElementSet(store, metas, run.inputs))
    for branch in BRANCHES:
        assert float(row[branch]) == pytest.approx(scores.branch[branch].mean(), abs=1e-6)
    assert float(row["weight_audio"]) == pytest.approx(scores.weights["audio"].mean(), abs=1e-6)


def test_page_shows_the_numbers(evaluated):
    html = (evaluated / "eval" / "test" / "report.html").read_text()
    auc = report_of(evaluated)["tiers"]["FVRA"]["fused"]["auc"]
    assert f"{auc:.3f}" in html
    assert html.count("data:image/svg+xml") == 7


def test_windows_are_pooled_by_the_given_rule(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--windows", "max", "--name", "max"])
    by_mean, by_max = rows_of(run), rows_of(run, "max")
    assert all(float(a["fused"]) <= float(b["fused"]) for a, b in zip(by_mean, by_max, strict=True))
    result = report_of(run, "max")
    assert result["pooling"] == {"windows": "max", "domain": "probability"}
    assert result["windows"]["clips"] == 24
    assert result["windows"]["fused"]["auc"] == report_of(run)["windows"]["fused"]["auc"]


def test_tiers_can_be_chosen(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--tiers", "RVFA-VC", "--name", "cloned"])
    result = report_of(run, "cloned")
    assert list(result["tiers"]) == ["RVFA-VC"]
    assert result["protocol"]["name"] == "cross-manipulation"
    assert result["protocol"]["new_tiers"] == ["RVFA-VC"]
    assert result["overall"]["clips"] == 6
    assert result["fitted"] == report_of(run, "validation")["fitted"]


def test_cross_dataset_protocol_is_reported(run, tmp_path):
    other = make_store(tmp_path / "other")
    (other / "elements2").symlink_to(other / "elements")
    arguments = ["--run", str(run), "--elements", str(other / "elements2"), "--bootstrap", "0", "--name", "other"]
    evaluate.main(arguments)
    result = report_of(run, "other")
    assert result["protocol"]["name"] == "cross-dataset"
    assert "Protocol: cross-dataset. Trained on RVFA;" in (run / "eval" / "other" / "report.html").read_text()


def test_prints_a_table_and_where_the_report_is(run, capsys):
    evaluate.main(["--run", str(run), "--bootstrap", "20"])
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["AUC", "clips", "identities", *BRANCHES]
    assert out.splitlines()[-1] == str(run / "eval" / "test" / "report.html")


def test_stage_1_has_an_audio_branch_alone(data, tmp_path):
    run = make_run(tmp_path, "pretrain", data)
    evaluate.main(["--run", str(run), "--bootstrap", "20"])
    result = report_of(run)
    assert result["branches"] == ["audio"]
    assert 0 <= result["tiers"]["RVFA-VC"]["audio"]["auc"] <= 1
    assert rows_of(run)[0]["weight_audio"] == ""
    distances = [float(row["prototype_distance"]) for row in rows_of(run) if row["tier"] == "FVRA"]
    assert result["voices"]["tiers"]["FVRA"]["distance"] == pytest.approx(np.mean(distances))
    assert len(result["voices"]["map"]["tiers"]["RVRA"]) == len(SPLITS["test"])


def test_a_missing_stage_1_is_reported(evaluated):
    assert report_of(evaluated)["voices"] == {
        "missing": f"stage1: stage 1 of {evaluated} is missing; projection and prototype are in that run"
    }
    assert f"stage 1 of {evaluated} is missing" in (evaluated / "eval" / "test" / "report.html").read_text()
    assert {row["prototype_distance"] for row in rows_of(evaluated)} == {""}
