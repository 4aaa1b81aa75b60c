"""evaluate.py from a run and a store on disk to its three files, and what it refuses."""

import csv
import errno
import json
import shutil

import numpy as np
import pytest
import torch

import evaluate
from avdfd import report
from avdfd.core import tiers
from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import ElementSet
from avdfd.elements import ElementStore
from avdfd.evaluation import evaluate as evaluation
from avdfd.evaluation.audit import audits, files
from avdfd.evaluation.grouped_metrics import TUNED
from avdfd.inference import scoring
from avdfd.inference.runs import load_run
from avdfd.metrics import calibration, roc
from avdfd.training import weights
from tests.helpers.runs import AUDIO, SPLITS, TIERS, make_run, make_store

BRANCHES = ["audio", "visual", "fused"]


@pytest.fixture(scope="module")
def data(small_store):
    return small_store


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


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    """They take long to draw; those of `evaluated` are there."""
    monkeypatch.setattr(report, "draw", lambda _: {})


def make_seed(root, data, seed, **changes):
    """A run of one of several seeds."""
    run = make_run(root / f"from{seed}", "train", data).rename(root / f"seed{seed}")
    facts, model = weights.load(run / BEST, "train")
    weight = model["a2v_head.0.weight"]
    weight = weight + torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    cfg = facts.config.model_copy(update={"seed": seed, "name": f"seed{seed}"} | changes)
    weights.save(run / BEST, {**model, "a2v_head.0.weight": weight}, facts.model_copy(update={"config": cfg}))
    return run


def report_of(run, split="test"):
    return json.loads((run / "eval" / split / "report.json").read_text())


def rows_of(run, split="test"):
    with (run / "eval" / split / "scores.csv").open() as file:
        return list(csv.DictReader(file))


# ---- the script


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


def test_threshold_and_temperature_are_chosen_on_validation(evaluated):
    validation, test = report_of(evaluated, "validation"), report_of(evaluated)
    assert TUNED not in validation["overall"]["fused"]
    assert test["fitted"] == validation["fitted"]
    chosen = test["fitted"]["fused"]["eer_threshold"][0]
    known = [row for row in rows_of(evaluated, "validation") if row["tier"] in ("RVRA", "RVFA")]  # as trained on
    labels, scores = [int(r["label"]) for r in known], [float(r["fused"]) for r in known]
    assert chosen == roc.eer_threshold(labels, scores)
    assert test["fitted"]["fused"]["temperature"] == [calibration.fit_temperature(labels, scores)]
    rows = rows_of(evaluated)
    labels, scores = [int(r["label"]) for r in rows], [float(r["fused"]) for r in rows]
    assert test["overall"]["fused"][TUNED] == roc.balanced_accuracy(labels, scores, chosen)


@pytest.mark.parametrize("change", ["weights", "pooling", "elements"])
def test_thresholds_of_another_validation_are_not_used(evaluated, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(evaluated, run)
    path = run / "eval" / "validation" / "report.json"
    former = json.loads(path.read_text())
    if change == "weights":
        former["runs"][0]["checkpoint_sha256"] = "0" * 64
    elif change == "elements":
        former["elements"] = "data/other"
    path.write_text(json.dumps(former))
    rule = "max" if change == "pooling" else "mean"
    evaluate.main(["--run", str(run), "--bootstrap", "0", "--windows", rule])
    result = report_of(run)
    assert result["fitted"] == {}
    assert TUNED not in result["overall"]["fused"]
    assert result["overall"]["fused"]["auc_interval"] is None


def test_an_old_validation_report_is_ignored(run):
    (run / "eval" / "validation").mkdir(parents=True)
    (run / "eval" / "validation" / "report.json").write_text('{"checkpoint_sha256": "0"}')
    evaluate.main(["--run", str(run), "--bootstrap", "0"])
    assert report_of(run)["fitted"] == {}


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


def write_list(path, rows):
    path.write_text("video_name,target\n" + "".join(f"{source},{target}\n" for source, target in rows))
    return str(path)


TESTED = [
    (f"{tiers.tier(name).folder}/Asian/men/{identity}/00000.mp4", tiers.tier(name).label)
    for identity in SPLITS["test"]
    for name in ("RVRA", "RVFA")
]


def test_the_clips_of_a_list_get_metrics_and_a_prediction(evaluated, tmp_path, capsys):
    """Their eval.py writes prediction.csv alone; rows without elements have no score in it, and are counted."""
    absolute = write_list(tmp_path / "absolute.csv", [(f"{tmp_path}/{source}", label) for source, label in TESTED])
    options = ["--bootstrap", "0", "--batch-size", "5", "--name", "listed"]
    evaluate.main(["--run", str(evaluated), "--csv", absolute, "--videos", str(tmp_path), *options])
    scored = {row["clip"]: row["fused"] for row in rows_of(evaluated, "listed")}
    assert scored.keys() == {source for source, _ in TESTED}
    everything = {row["clip"]: row["fused"] for row in rows_of(evaluated)}
    assert {clip: float(score) for clip, score in scored.items()} == pytest.approx(
        {clip: float(everything[clip]) for clip in scored}, abs=1e-6
    )
    relative = write_list(tmp_path / "testset.csv", [*TESTED, ("gone/1.mp4", 1)])
    capsys.readouterr()
    evaluate.main(["--run", str(evaluated), "--csv", relative, *options])
    assert "eval/listed/prediction.csv: 6 of 7 videos have a score" in capsys.readouterr().out
    with (evaluated / "eval" / "listed" / "prediction.csv").open() as file:
        rows = [*csv.reader(file)]
    assert rows == [
        ["video_name", "y_pred"], *([source, scored[source]] for source, _ in TESTED), ["1.mp4", ""]
    ], "all files have one name, so their paths are given"  # fmt: skip
    assert report_of(evaluated, "listed")["listed"] == {"videos": 7, "scored": 6, "repeated": 0}


def test_refuses_lists_that_do_not_fit_the_store(run, tmp_path):
    def refused_list(rows, *options):
        return refused(run, "--csv", write_list(tmp_path / "list.csv", rows), *options)

    assert "line 2: an absolute path: name the root of the videos with --videos" in refused_list([("/data/x.mp4", 0)])
    assert "the store has none of its 1 videos, e.g. 'x.mp4', but 'Fake" in refused_list([("x.mp4", 0)])
    wrong = [(source, 1 - label) for source, label in TESTED]
    assert "00000.mp4' has target 0, but label 1 in the store" in refused_list(wrong)
    assert "split 'all' has only fake elements" in refused_list([row for row in TESTED if row[1]])
    assert "there is no --split" in refused_list(TESTED, "--split", "test")


def test_several_seeds_are_pooled(data, tmp_path):
    runs = [make_seed(tmp_path, data, seed) for seed in (0, 1, 2)]
    names = ",".join(map(str, runs))
    for split in ("validation", "test"):
        evaluate.main(["--run", names, "--split", split, "--bootstrap", "30"])
    pooled = report_of(runs[0], "test-3-seeds")
    evaluate.main(["--run", str(runs[1]), "--bootstrap", "30"])
    assert [run["seed"] for run in pooled["runs"]] == [0, 1, 2]
    rows = rows_of(runs[0], "test-3-seeds")
    labels = [int(row["label"]) for row in rows]
    each = [roc.auc(labels, [float(row[f"fused[{seed}]"]) for row in rows]) for seed in range(3)]
    assert pooled["overall"]["fused"]["auc"] == pytest.approx(np.mean(each))
    assert pooled["overall"]["fused"]["auc_deviation"] == pytest.approx(np.std(each, ddof=1))
    assert each[1] == pytest.approx(report_of(runs[1])["overall"]["fused"]["auc"])
    assert len(pooled["fitted"]["fused"]["eer_threshold"]) == 3
    # One system of two seeds against another.
    baseline = ",".join(map(str, runs[1:]))
    evaluate.main(["--run", str(runs[0]), "--against", baseline, "--bootstrap", "30"])
    against = report_of(runs[0])
    assert against["overall"]["seed1"]["auc"] == pytest.approx(np.mean(each[1:]))
    assert len(against["against"]["seed1"]["runs"]) == 2
    assert against["paired"]["seed1"]["overall"]["difference"] == pytest.approx(each[0] - np.mean(each[1:]))


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


# ---- perturbations and audits


def test_perturbed_clips_are_in_the_report(run, capsys):
    wanted = ["--robustness", "sound_late", "brightness", "--clips", "2"]
    assert evaluate.main(["--run", str(run), "--bootstrap", "10", *wanted]) == 0
    section = report_of(run)["robustness"]
    assert list(section["perturbations"]) == ["brightness", "sound_late"]
    assert (section["clips"], section["windows"]) == (2 * len(TIERS), 4 * len(TIERS))
    folder = run / "eval" / "test" / "robustness" / "train"
    kept = {path.name: json.loads(path.read_text())["scores"] for path in folder.iterdir()}
    assert len(kept) == 11
    assert kept["brightness-5.json"]["audio"] == kept["clean.json"]["audio"]  # which is not given frames
    assert kept["brightness-5.json"]["visual"] != kept["clean.json"]["visual"]
    assert kept["sound_late-5.json"]["audio"] != kept["clean.json"]["audio"]
    html = (run / "eval" / "test" / "report.html").read_text()
    assert "Robustness</h2>" in html
    assert "Late audio, 400 ms" in html
    assert "AUC at severity 5" in capsys.readouterr().out


def test_counterfactuals_are_in_the_report(run, data, tmp_path, capsys):
    other = make_seed(tmp_path, data, 1)
    wanted = ["--against", str(other), "--counterfactuals", "--clips", "2", "--bootstrap", "20"]
    assert evaluate.main(["--run", str(run), *wanted]) == 0
    section = report_of(run)["counterfactuals"]
    assert (section["branch"], section["clips"], section["left_out"]) == ("visual", 2 * len(TIERS), {})
    assert list(section["verdicts"]) == [*BRANCHES, "seed1"]
    # The audio branch takes no frames: it cannot notice whose audio it is, or what becomes of the video.
    assert section["stranger"]["branches"]["audio"]["auc"] == 0.5
    own, fixed, shuffled = (section["replaced"][kind]["overall"] for kind in ("own", "fixed_audio", "shuffled"))
    assert (fixed["audio"]["auc"], shuffled["audio"]["auc"]) == (0.5, own["audio"]["auc"])
    text = capsys.readouterr().out
    assert "The visual branch uses the relation of audio and video: " in text
    assert "The score of seed1 uses the relation of audio and video: " in text
    assert "Does it use the relation of audio and video?" in (run / "eval" / "test" / "report.html").read_text()


def test_a_system_of_audio_alone_among_others_uses_no_video(run, data, tmp_path, capsys):
    other = make_run(tmp_path, "pretrain", data)
    evaluate.main(["--run", str(run), "--against", str(other), "--counterfactuals", "--clips", "2", "--bootstrap", "0"])
    assert report_of(run)["counterfactuals"]["audio_only"] == ["pretrain"]
    said = "The score of pretrain uses the relation of audio and video: not applicable (no video is taken)."
    assert said in capsys.readouterr().out


def test_a_run_of_audio_alone_has_no_relation_to_test(data, tmp_path, capsys):
    run = make_run(tmp_path, "pretrain", data)
    assert evaluate.main(["--run", str(run), "--counterfactuals", "--clips", "2", "--bootstrap", "0"]) == 0
    section = report_of(run)["counterfactuals"]
    assert section["verdicts"]["audio"]["uses"] is None
    assert section["stranger"]["branches"]["audio"]["auc"] == 0.5
    assert "The audio branch uses the relation of audio and video: not applicable (" in capsys.readouterr().out
    kept = {path.stem.rstrip("+-0123456789") for path in (run / "eval/test/counterfactuals").rglob("*.json")}
    assert kept == {"stranger", "shift", "fixed_audio", "reversed"}  # what the video shows was not scored


def test_reports_without_counterfactuals_say_so(evaluated):
    html = (evaluated / "eval" / "test" / "report.html").read_text()
    assert "Use of the relation of audio and video: not tested (evaluate.py --counterfactuals)." in html


def audited(run, *arguments):
    code = evaluate.main(["--run", str(run), "--bootstrap", "0", *arguments])
    return code, report_of(run)["audit"], (run / "eval" / "test" / "report.html").read_text()


def test_clean_elements_pass_the_audit(run):
    code, audit, html = audited(run, "--strict")
    assert code == 0
    assert audit["leaks"] == []
    assert audit["clips"] == {"test": 3 * len(TIERS), "train": 2 * len(TIERS), "validation": 2 * len(TIERS)}
    assert set(audit["probes"]["elements"]) == set(TIERS) - {"RVRA"}
    assert "None found." in html
    assert "Shortcuts in the data" not in html


def test_findings_of_the_audit_are_at_the_top_of_the_report(run, monkeypatch):
    probe = {"auc": 0.75, "by_chance": 0.7, "shortcut": True}
    found = {"probes": {"elements": {"RVFA": {"loudness": probe}}}, "clips": {"test": 3, "train": 2}}
    leak = {"kind": "sound", "what": "2 copies", "splits": ["test", "train"], "clips": ["a.mp4", "<b>.mp4"]}
    monkeypatch.setattr(audits, "of_elements", lambda *_, **__: {**found, "leaks": [leak]})
    code, _, html = audited(run, "--strict")
    assert code == evaluate.FOUND == 3
    assert "loudness on RVFA (0.750)" in html
    assert "Leaks between splits: audio in test and train." in html
    assert html.index("class=warning") < html.index("<table>")
    assert "&lt;b&gt;.mp4" in html
    assert audited(run, "--audit")[0] == 0  # a warning is no failure unless it is asked to be one


def test_probes_look_at_the_sources_of_all_splits(run, tmp_path, monkeypatch):
    root = tmp_path / "videos"
    for source in {m.source for m in ElementStore(make_store(tmp_path / "own") / "elements").metas}:
        (root / source).parent.mkdir(parents=True)
        (root / source).touch()
    seen = []

    def measure(path):
        seen.append(path)
        return {"loudness": 4.0 if "FakeAudio" in str(path) and "VoiceClone" not in str(path) else 1.0}

    monkeypatch.setattr(files, "measure", measure)
    _, audit, html = audited(run, "--probes", str(root))
    assert audit["probes"]["files"]["RVFA"]["loudness"]["shortcut"]
    assert audit["probes"]["files"]["RVFA-VC"]["loudness"]["auc"] == 0.5
    assert "loudness on RVFA (1.000)" in html
    assert len(seen) == 7 * len(TIERS)  # one per clip


def test_audit_of_another_store_compares_it_with_the_run_own(run, tmp_path):
    other = make_store(tmp_path / "other")
    _, audit, _ = audited(run, "--audit", "--elements", str(other / "elements"))
    assert audit["clips"] == {"test": 3 * len(TIERS), "train": 2 * len(TIERS), "validation": 2 * len(TIERS)}


# ---- what it refuses


def refused(run, *arguments):
    with pytest.raises(UserError) as caught:
        evaluate.main(["--run", str(run), *arguments])
    assert not (run / "eval" / "test" / "report.json").exists()
    return str(caught.value)


def test_refuses_a_missing_run(tmp_path):
    assert "no such run folder" in refused(tmp_path / "none")
    assert "has no best.safetensors" in refused(tmp_path)


def test_refuses_a_damaged_checkpoint(run):
    data = (run / "best.safetensors").read_bytes()
    (run / "best.safetensors").write_bytes(data[: len(data) // 2])
    assert "best.safetensors: damaged" in refused(run)


def test_refuses_missing_elements(run, tmp_path):
    assert str(tmp_path / "none") in refused(run, "--elements", str(tmp_path / "none"))


@pytest.fixture
def before_scoring(monkeypatch):
    """Scoring may take hours: what cannot be met is refused before."""
    monkeypatch.setattr(evaluation, "score_systems", lambda *_: pytest.fail("scored first"))


def test_refuses_probes_without_the_videos(run, tmp_path, before_scoring):
    assert "--probes" in refused(run, "--probes", str(tmp_path))


def test_refuses_a_system_that_lacks_its_inputs(run, data, tmp_path, before_scoring):
    other = make_run(tmp_path, "pretrain", data, audio={**AUDIO, "input": "mel_err"})
    assert "its elements have no mel_err.npy" in refused(run, "--against", str(other))


def test_refuses_unknown_perturbations(run):
    assert "did you mean 'reverberation'?" in refused(run, "--robustness", "reverb")


def test_refuses_a_file_in_the_way(run):
    (run / "eval").write_text("")
    assert "eval/test: cannot be written to" in refused(run)


def test_unwritable_output_is_found_before_the_work(run, monkeypatch):
    def read_only(**_):
        raise PermissionError(errno.EACCES, "Permission denied", str(run))

    monkeypatch.setattr(evaluation, "score", lambda *_, **__: pytest.fail("worked first"))
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert "cannot be written to (Permission denied)" in refused(run)


def test_refuses_runs_of_several_systems_as_one(data, tmp_path):
    runs = [make_seed(tmp_path, data, 0), make_seed(tmp_path, data, 1, backbone_lr_scale=0.5)]
    assert "not the system of" in refused(runs[0], "--run", f"{runs[0]},{runs[1]}")
    assert "the seeds are 0, 0; every run needs a different one" in refused(runs[0], "--run", f"{runs[0]},{runs[0]}")


def test_refuses_a_run_whose_stage_1_was_trained_on_test_identities(data, tmp_path):
    (tmp_path / "lists").mkdir()
    for split, theirs in (("train", "test"), ("validation", "validation"), ("test", "train")):
        (tmp_path / "lists" / f"{split}.txt").write_text("\n".join(SPLITS[theirs]))
    stage1 = make_run(tmp_path, "pretrain", data)
    facts, model = weights.load(stage1 / BEST, "pretrain")
    others = facts.config.data.model_copy(update={"splits": str(tmp_path / "lists")})
    cfg = facts.config.model_copy(update={"data": others})
    weights.save(stage1 / BEST, model, facts.model_copy(update={"config": cfg}))
    run = make_seed(tmp_path, data, 0, audio=str(stage1))
    assert "run 'pretrain': identity 'id5' of the test elements is in its train list" in refused(run)


def test_refuses_elements_without_reals(run, tmp_path):
    fakes = ElementStore(make_store(tmp_path / "own") / "elements")
    fakes.metas = fakes.metas.take([i for i, m in enumerate(fakes.metas) if m.tier == "RVFA"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "open_store", lambda *_, **__: fakes)
        assert "split 'all' has only fake elements" in refused(run, "--split", "all")


def test_a_score_that_is_not_a_number_is_an_error(run):
    facts, model = weights.load(run / BEST, "train")
    bad = torch.full_like(model["a2v_head.0.weight"], 3e38)  # weights that are not finite are refused before
    weights.save(run / BEST, {**model, "a2v_head.0.weight": bad}, facts)
    with pytest.raises(WorkError, match="its visual score of .* is not a number"):
        evaluate.main(["--run", str(run)])
    assert not (run / "eval" / "test" / "report.json").exists()


@pytest.mark.parametrize(
    "wrong",
    ["--split some", "--batch-size 0", "--bootstrap -1", "--sed 1", "--windows top0", "--name ../a", "--tiers RVRA"],
)
def test_refuses_wrong_arguments(run, wrong):
    with pytest.raises(UserError, match=wrong.split()[0]):
        evaluate.main(["--run", str(run), *wrong.split()])
