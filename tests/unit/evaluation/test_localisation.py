"""Localisation of an oracle and a reversed one, from a store to the report."""

import csv
import json

import numpy as np
import pytest

import evaluate
from avdfd import report
from avdfd.elements import ElementStore, ElementWriter, fake_seconds
from avdfd.evaluation import evaluate as evaluation
from avdfd.evaluation.evaluate import Request
from avdfd.evaluation.localisation import LESS_IN_SYNC, UNUSUAL, localise, own_steps
from avdfd.evaluation.outside import judge
from avdfd.evaluation.pooling import per_window
from avdfd.evaluation.score_file import ScoreFile
from avdfd.inference.scoring import Scores
from tests.helpers.runs import make_run
from tests.unit.elements import meta

FAKE = (12.3, 13.3)
STEPS = 8


@pytest.fixture
def planted(tmp_path):
    """Store of a real clip and of a fake of which one second is, ten windows of 3.072 s each."""
    windows = [{"start": 3.072 * n, "end": 3.072 * (n + 1), "parts": {}} for n in range(10)]
    with ElementWriter(tmp_path / "planted", {"made": "up"}) as writer:
        for source, tier, periods in (("fake.mp4", "RVFA", [FAKE]), ("real.mp4", "RVRA", [])):
            clip = {"tier": tier, "identities": ["new"], "source": source, "base": "real.mp4", "sha256": source}
            writer.add({**clip, "audio_fake_periods": json.dumps(periods) if periods else ""}, windows)
    return tmp_path / "planted"


def oracle(metas, reverse=False):
    """Scores that know the windows, and of the evidence the steps, that contain the fake second."""
    starts = np.array([one.start for one in metas])[:, None] + np.arange(STEPS) * 3.072 / STEPS
    fake = np.array([one.label for one in metas])[:, None] == 1
    steps = (fake & (starts < FAKE[1]) & (starts + 3.072 / STEPS > FAKE[0])).astype(float)
    of_windows = (fake_seconds(metas)[:, 0] > 0).astype(float)
    sign = (lambda x: 1 - x) if reverse else (lambda x: x)
    branches = dict.fromkeys(("audio", "visual", "fused"), sign(of_windows))
    return Scores([one.key for one in metas], branches, discrepancy=sign(steps))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_planted_second_is_evaluated_in_all_windows_and_found(planted, small_store, tmp_path, monkeypatch, reverse):
    run = make_run(tmp_path, "train", small_store)
    monkeypatch.setattr(evaluation, "check_request", lambda *_: None)  # the elements have no arrays
    monkeypatch.setattr(evaluation, "score_run", lambda run, store, metas, request: oracle(metas, reverse))
    monkeypatch.setattr(report, "draw", lambda _: {})
    evaluate.main(["--run", str(run), "--elements", str(planted), "--split", "all", "--bootstrap", "0"])
    folder = run / "eval" / "all"
    result = json.loads((folder / "report.json").read_text())
    assert result["left_out_by_truth"] == 0
    assert (result["overall"]["windows"], result["windows"]["clips"], result["windows"]["fake_clips"]) == (20, 20, 1)
    assert {name: of["clips"] for name, of in result["window_groups"].items()} == {"RVFA": 20, "fake audio alone": 20}
    assert result["windows"]["fused"]["auc"] == (0 if reverse else 1)
    assert result["overall"]["fused"]["auc"] == (0 if reverse else 1)
    found = result["localisation"]
    assert [found[name] for name in ("clips", "partly_fake", "periods", "left_out")] == [2, 1, 1, 0]
    steps, windows = found["systems"]["discrepancy"], found["systems"]["fused"]
    assert steps["from"] == "steps of windows"
    assert steps["ap_0.5"] == steps["ap_0.75"] == (0 if reverse else 1)
    assert steps["ar_10"] == (0 if reverse else 0.8)  # steps of 0.384 s: IoU 1 / 1.152
    assert (windows["from"], windows["ap_0.5"]) == ("windows", 0)  # a window is three times as long as the fake
    with (folder / "windows.csv").open() as file:
        rows = list(csv.DictReader(file))
    (fake,) = (row for row in rows if row["label"] == "1")
    assert (fake["clip"], float(fake["start"])) == ("fake.mp4", pytest.approx(12.288))
    assert [float(fake[name]) for name in ("audio_fake_seconds", "visual_fake_seconds")] == [1, 0]


def test_overlapping_windows_locate_a_second():
    """With a window every 0.256 s, their mean is highest where all windows contain the fake second."""
    metas = [
        meta("a", name, 0, start=0.256 * n, end=0.256 * n + 3.072, audio_fake_periods="[[12, 13]]" * (name == "RVFA"))
        for name in ("RVFA", "RVRA")
        for n in range(80)
    ]
    values = (fake_seconds(metas)[:, 0] > 0).astype(float)
    for reverse in (False, True):
        scores = Scores([], {"audio": 1 - values if reverse else values})
        found = localise(metas, per_window(metas, scores), scores, replicates=0, seed=0)
        assert found["systems"]["audio"]["ap_0.5"] == (0 if reverse else 1)


@pytest.mark.parametrize(
    ("inside", "found"), [(-4.0, {LESS_IN_SYNC: 1, UNUSUAL: 1}), (9.0, {LESS_IN_SYNC: 0, UNUSUAL: 1})]
)
def test_frames_locate_a_second_that_is_out_of_sync_or_too_much_in_sync(inside, found):
    metas = [
        meta("a", name, 0, start=3.072 * n, end=3.072 * (n + 1), audio_fake_periods="[[4, 5]]" * (name == "RVFA"))
        for name in ("RVFA", "RVRA")
        for n in range(3)
    ]
    frames = np.full((6, 77), 3.0)
    first, last = (int((second - 3.072) * 25) for second in (4, 5))
    frames[1, first:last] = inside
    scores = Scores([], {"audio": np.zeros(6)}, frames=frames, agreement=np.zeros((6, 31)))
    systems = localise(metas, per_window(metas, scores), scores, replicates=0, seed=0)["systems"]
    assert systems["audio"]["from"] == "windows"
    assert {name: systems[name]["from"] for name in found} == dict.fromkeys(found, "frames")
    assert {name: systems[name]["ap_0.75"] for name in found} == found


def test_fakes_throughout_are_left_out_and_runs_are_averaged():
    periods = {"audio_fake_periods": "[[0, 1]]"}
    metas = [
        meta("a", "RVFA", **periods),
        meta("b", "RVFA"),
        meta("c", "FVFA", **periods),
        meta("d", "RVRA"),
    ]
    scores = Scores([], {"audio": np.array([[1.0, 1, 1, 0], [0, 1, 1, 1]])})
    found = localise(metas, per_window(metas, scores), scores, replicates=20, seed=0)
    assert [found[name] for name in ("clips", "partly_fake", "periods", "left_out")] == [2, 1, 1, 2]
    assert found["systems"]["audio"]["ap_0.5"] == 0
    assert found["systems"]["audio"]["ap_0.5_interval"] == [0, 0]
    whole, scores = [metas[1], metas[3]], Scores([], {"audio": np.array([0.9, 0.1])})
    assert localise(whole, per_window(whole, scores), scores, replicates=0, seed=0) is None


def test_steps_of_a_short_clip_are_those_within_it():
    values = np.arange(16.0).reshape(2, 8)
    assert own_steps(values, np.array([3.072, 3.072])).tolist() == values.tolist()
    assert own_steps(values, np.array([1.536, 3.072])).tolist()[0] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_scores_of_windows_from_a_file_find_it_as_those_of_a_run(planted, small_store, tmp_path, monkeypatch):
    run = make_run(tmp_path, "train", small_store)
    monkeypatch.setattr(evaluation, "check_request", lambda *_: None)  # the elements have no arrays
    monkeypatch.setattr(evaluation, "score_run", lambda run, store, metas, request: oracle(metas))
    common = {"split": "all", "elements": str(planted), "bootstrap": 10}
    ours = evaluation.evaluate(Request(str(run), device="cpu", **common)).result
    metas = ElementStore(planted).metas
    rows = zip(metas, oracle(metas).branch["fused"].tolist(), strict=True)
    file = tmp_path / "w.csv"
    file.write_text("file,start,score\n" + "".join(f"{meta.source},{meta.start},{score}\n" for meta, score in rows))
    found = judge(Request(str(tmp_path / "x"), **common), ScoreFile(file)).result
    of_file = found["localisation"]["systems"]["score"]
    assert of_file == ours["localisation"]["systems"]["fused"]
    assert of_file["proposals"] > 0
