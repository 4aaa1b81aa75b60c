"""evaluate.py from a run and a store on disk to its three files, and what it refuses."""

import csv
import errno
import json
import shutil

import numpy as np
import pytest

import evaluate
from avdfd import metrics, scoring
from avdfd.datasets.loaders import ElementSet
from avdfd.elements import ElementStore
from avdfd.errors import UserError
from avdfd.evaluation import TUNED, Clip, judge, pool
from tests.elements import meta
from tests.runs import SPLITS, TIERS, make_run, make_store

BRANCHES = ["audio", "visual", "fused"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    """A run of stage 2 with validation and test evaluated."""
    run = make_run(tmp_path_factory.mktemp("runs"), "train", data)
    for split in ("validation", "test"):
        evaluate.main(["--run", str(run), "--split", split, "--bootstrap", "50", "--batch-size", "5"])
    return run


@pytest.fixture
def run(data, tmp_path):
    return make_run(tmp_path, "train", data)


def report_of(run, split="test"):
    return json.loads((run / "eval" / split / "report.json").read_text())


def rows_of(run, split="test"):
    with (run / "eval" / split / "scores.csv").open() as file:
        return list(csv.DictReader(file))


# ---- from scores to the report


def test_pool_means_the_windows_of_a_clip():
    metas = [meta("id1", "RVRA"), meta("id2", "RVFA", 0, 0), meta("id2", "RVFA", 0, 1), meta("id2", "RVFA", 1)]
    scores = scoring.Scores(
        [m.key for m in metas],
        {"audio": np.array([0.1, 0.2, 0.6, 0.9]), "fused": np.array([0.0, 0.5, 1.0, 0.5])},
        w_audio=np.array([0.5, 0.1, 0.3, 0.5]),
        discrepancy=np.arange(32.0).reshape(4, 8),
    )
    clips = pool(metas, scores)
    assert [(c.tier, c.identity, c.label, c.windows) for c in clips] == [
        ("RVRA", "id1", 0, 1),
        ("RVFA", "id2", 1, 2),
        ("RVFA", "id2", 1, 1),
    ]
    assert clips[1].scores == pytest.approx({"audio": 0.4, "fused": 0.75})
    assert clips[1].weight_audio == pytest.approx(0.2)
    assert clips[1].discrepancy == pytest.approx(15.5)


def test_judge_takes_each_tier_against_the_reals_only():
    def clip(number, tier, label, score):
        return Clip(f"{tier}/{number}", tier, label, f"id{number}", 1, {"audio": score}, None, None)

    clips = [clip(i, "RVRA", 0, s) for i, s in enumerate((0.1, 0.3, 0.6))]
    clips += [clip(i, "RVFA", 1, s) for i, s in enumerate((0.7, 0.8, 0.9))]
    clips += [clip(i, "FVRA", 1, s) for i, s in enumerate((0.2, 0.2, 0.2))]
    result = judge(clips, ("audio",), "audio", {"audio": 0.65}, replicates=100, seed=0)
    assert list(result["tiers"]) == ["RVFA", "FVRA"]
    assert result["tiers"]["RVFA"]["audio"]["auc"] == 1.0
    assert result["tiers"]["FVRA"]["audio"]["auc"] == pytest.approx(1 / 3)
    assert result["overall"]["audio"]["auc"] == pytest.approx(2 / 3)
    assert result["tiers"]["RVFA"]["audio"]["balanced_accuracy"] == pytest.approx(5 / 6)
    assert result["tiers"]["RVFA"]["audio"][TUNED] == 1.0
    assert (result["overall"]["clips"], result["overall"]["fake_clips"], result["overall"]["identities"]) == (9, 6, 3)
    assert result["overall"]["prevalence"] == pytest.approx(2 / 3)


# ---- the script


def test_report_holds_what_the_scores_say(evaluated):
    report, rows = report_of(evaluated), rows_of(evaluated)
    assert report["branches"] == BRANCHES
    assert list(report["tiers"]) == [t for t in TIERS if t != "RVRA"]  # of the store, not only those trained on
    assert len(rows) == len(SPLITS["test"]) * len(TIERS)
    assert {row["identity"] for row in rows} == set(SPLITS["test"])
    for tier, section in report["tiers"].items():
        chosen = [row for row in rows if row["tier"] in ("RVRA", tier)]
        labels = [int(row["label"]) for row in chosen]
        assert (section["clips"], section["windows"], section["identities"]) == (6, 12, 3)
        for branch in BRANCHES:
            scores = [float(row[branch]) for row in chosen]
            assert section[branch]["auc"] == metrics.auc(labels, scores)
            assert section[branch]["eer"] == metrics.eer(labels, scores)
            low, high = section[branch]["auc_interval"]
            assert 0 <= low <= high <= 1
    assert report["split"] == "test"
    assert report["config"]["name"] == "train"


def test_scores_are_those_of_the_model(evaluated):
    run = scoring.load_run(evaluated, "cpu")
    store = ElementStore(run.config.data.elements)
    row = rows_of(evaluated)[3]
    metas = [m for m in store.metas if m.source == row["clip"]]
    scores = scoring.score(run, ElementSet(store, metas, run.inputs))
    for branch in BRANCHES:
        assert float(row[branch]) == pytest.approx(scores.branch[branch].mean(), abs=1e-6)
    assert scores.w_audio is not None
    assert float(row["weight_audio"]) == pytest.approx(scores.w_audio.mean(), abs=1e-6)


def test_page_shows_the_numbers(evaluated):
    html = (evaluated / "eval" / "test" / "report.html").read_text()
    auc = report_of(evaluated)["tiers"]["FVRA"]["fused"]["auc"]
    assert f"{auc:.3f}" in html
    assert html.count("data:image/svg+xml") == 4


def test_threshold_is_chosen_on_validation(evaluated):
    validation, test = report_of(evaluated, "validation"), report_of(evaluated)
    assert TUNED not in validation["overall"]["fused"]
    chosen = validation["overall"]["fused"]["eer_threshold"]
    assert test["validation_eer_threshold"]["fused"] == chosen
    rows = rows_of(evaluated)
    labels, scores = [int(r["label"]) for r in rows], [float(r["fused"]) for r in rows]
    assert test["overall"]["fused"][TUNED] == metrics.balanced_accuracy(labels, scores, chosen)


def test_threshold_of_other_weights_is_not_used(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    path = run / "eval" / "validation" / "report.json"
    path.write_text(path.read_text().replace(report_of(run)["checkpoint_sha256"], "0" * 64))
    evaluate.main(["--run", str(run), "--bootstrap", "0"])
    report = report_of(run)
    assert report["validation_eer_threshold"] is None
    assert report["overall"]["fused"]["auc_interval"] is None


def test_prints_a_table_and_where_the_report_is(run, capsys):
    evaluate.main(["--run", str(run), "--bootstrap", "20"])
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["AUC", "clips", "identities", *BRANCHES]
    assert out.splitlines()[-1] == str(run / "eval" / "test" / "report.html")


def test_stage_1_is_judged_by_its_audio_branch(data, tmp_path):
    run = make_run(tmp_path, "pretrain", data)
    evaluate.main(["--run", str(run), "--bootstrap", "20"])
    report = report_of(run)
    assert report["branches"] == ["audio"]
    assert 0 <= report["tiers"]["RVFA-VC"]["audio"]["auc"] <= 1
    assert rows_of(run)[0]["weight_audio"] == ""


def test_probes_look_at_the_sources_of_all_splits(run, tmp_path, monkeypatch):
    root = tmp_path / "videos"
    for source in {m.source for m in ElementStore(make_store(tmp_path / "own") / "elements").metas}:
        (root / source).parent.mkdir(parents=True)
        (root / source).touch()
    seen = []

    def run_probes(rows):
        seen.extend(rows)
        return {"RVFA": {"duration": 0.5, "loudness": 0.75}}

    monkeypatch.setattr(evaluate, "run_probes", run_probes)
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--probes", str(root)])
    assert report_of(run)["probes"]["RVFA"]["loudness"] == 0.75
    assert "loudness on RVFA" in (run / "eval" / "test" / "report.html").read_text()
    assert len(seen) == 7 * len(TIERS)  # one per clip
    assert {identity for _, _, identity in seen} == {f"id{i}" for i in range(1, 8)}


# ---- what it refuses


def refused(run, *arguments):
    with pytest.raises(UserError) as caught:
        evaluate.main(["--run", str(run), *arguments])
    assert not (run / "eval" / "test" / "report.json").exists()
    return str(caught.value)


def test_refuses_a_run_that_is_not_there(tmp_path):
    assert "no such run folder" in refused(tmp_path / "none")
    assert "has no best.safetensors" in refused(tmp_path)


def test_refuses_a_damaged_checkpoint(run):
    data = (run / "best.safetensors").read_bytes()
    (run / "best.safetensors").write_bytes(data[: len(data) // 2])
    assert "best.safetensors: damaged" in refused(run)


def test_refuses_elements_that_are_not_there(run, tmp_path):
    assert str(tmp_path / "none") in refused(run, "--elements", str(tmp_path / "none"))


def test_refuses_probes_without_the_videos(run, tmp_path):
    assert "--probes" in refused(run, "--probes", str(tmp_path))


def test_refuses_a_file_in_the_way(run):
    (run / "eval").write_text("")
    assert "eval/test: cannot be written to" in refused(run)


def test_unwritable_output_is_found_before_the_work(run, monkeypatch):
    def read_only(**_):
        raise PermissionError(errno.EACCES, "Permission denied", str(run))

    monkeypatch.setattr(evaluate, "score", lambda *_, **__: pytest.fail("worked first"))
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert "cannot be written to (Permission denied)" in refused(run)


@pytest.mark.parametrize("wrong", ["--split some", "--batch-size 0", "--bootstrap -1", "--sed 1"])
def test_refuses_wrong_arguments(run, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(["--run", str(run), *wrong.split()])
    assert caught.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err
