"""A run with three branches from a store or a video to its report and verdict."""

import csv
import json

import numpy as np
import pytest

import detect
import evaluate
from avdfd import report
from avdfd.elements import ElementStore
from avdfd.features.window import FPS
from avdfd.inference import scoring
from avdfd.inference.runs import load_run
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.recordings import clicks, record
from tests.helpers.runs import TIERS, make_both_stages, make_store
from tests.helpers.scored import THREE
from tests.helpers.three_branches import make_three_branches

pytestmark = pytest.mark.usefixtures("in_process")

SECONDS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), landmarks=True)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return make_three_branches(tmp_path_factory.mktemp("runs"), data)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A drawn head whose mouth opens and closes."""
    times = [n / FPS for n in range(SECONDS * FPS)]
    images = [scene([Place(240, 130, opening=0.4 + 0.4 * float(np.sin(6 * time)))]) for time in times]
    audio = clicks(SECONDS, 16_000, [0.5, 1.5, 2.5, 3.5])
    return record(tmp_path_factory.mktemp("video") / "a.mp4", times, audio, rate=16_000, size=SIZE, images=images)


def test_evaluation_keeps_scores_weights_and_frames_of_consistency(run, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "draw", lambda _: {})
    wanted = ["--counterfactuals", "--clips", "2", "--bootstrap", "20"]
    assert evaluate.main(["--run", str(run), *wanted]) == 0
    folder = run / "eval" / "test"
    result = json.loads((folder / "report.json").read_text())
    assert result["branches"] == [*THREE]
    assert list(result["less_in_sync"]) == ["overall", *TIERS[1:]]
    assert result["counterfactuals"]["branch"] == "consistency"
    # One stream alone cannot show whose audio it is.
    stranger = result["counterfactuals"]["stranger"]["branches"]
    assert stranger[THREE[0]]["auc"] == stranger[THREE[2]]["auc"] == 0.5
    text = capsys.readouterr().out
    assert "The consistency branch uses the relation of audio and video: " in text
    assert f"{THREE[2]}, AUC " in text

    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    for row in rows:
        assert sum(float(row[f"weight_{branch}"]) for branch in THREE[:3]) == pytest.approx(1)
        assert float(row["lag_ms"]) % 40 == 0
    with np.load(folder / "frames.npz") as frames:
        assert (frames["log_ratio"].shape, frames["agreement"].shape) == ((24, 77), (24, 31))
        mine = frames["clip"] == rows[0]["clip"]
        assert frames["log_ratio"][mine].mean() == pytest.approx(float(rows[0]["log_ratio"]), abs=1e-5)
        element = ElementStore(data / "elements").read(
            str(frames["key"][0]), waveform=True, frames=range(77), landmarks=True
        )
        again = scoring.score_windows(load_run(run, "cpu"), [element])
        assert again.frames[0] == pytest.approx(frames["log_ratio"][0], abs=1e-4)


def test_voices_are_placed_beside_the_scores(data, tmp_path, monkeypatch):
    """The embedding is computed from the patches of the audio, and the consistency branch takes the mel."""
    monkeypatch.setattr(report, "draw", lambda _: {})
    stage1, _ = make_both_stages(tmp_path, data)
    run = make_three_branches(tmp_path, data, audio=stage1)
    evaluate.main(["--run", str(run), "--bootstrap", "0"])
    result = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert result["voices"]["stage1"] == [str(stage1)]


def test_verdict_has_three_scores_weights_and_the_lag(run, video, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    arguments = ["--run", str(run), str(video), "--scores", str(out)]
    assert detect.main([*arguments, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    scores, weights = ([line[name.format(branch)] for branch in THREE[:3]] for name in ("{}_score", "weight_{}"))
    assert all(0 < score < 1 for score in scores)
    assert sum(weights) == pytest.approx(1)
    assert line["visual_score"] is line["weight_visual"] is None
    assert line["lag_ms"] % 40 == 0
    head, row = csv.reader(out.read_text().splitlines())
    table = dict(zip(head, row, strict=True))
    assert float(table["consistency_score"]) == pytest.approx(line["consistency_score"])
    assert (table["visual_score"], "windows" in table) == ("", False)
    detect.main(arguments)
    text = capsys.readouterr().out
    assert f"consistency {line['consistency_score']:.3f}" in text
    assert f"weights {' / '.join(f'{weight:.2f}' for weight in weights)}  lag {line['lag_ms']:+.0f} ms" in text


def test_drawings_show_consistency(run, video, tmp_path):
    plot, shown = tmp_path / "a.png", tmp_path / "shown.mp4"
    assert detect.main(["--run", str(run), str(video), "--plot", str(plot), "--overlay", str(shown)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert shown.stat().st_size > 10_000


def test_a_file_without_landmarks_is_one_line(run, tmp_path, capsys):
    times = [n / FPS for n in range(SECONDS * FPS)]
    images = [np.full((*SIZE, 3), n % 100, np.uint8) for n in range(len(times))]
    video = record(tmp_path / "a.mp4", times, clicks(SECONDS, 16_000, [1.0]), rate=16_000, size=SIZE, images=images)
    assert detect.main(["--run", str(run), str(video), "--whole-frame"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"{video}  error: landmarks found in less than half of the frames"


def test_tables_do_not_replace_inputs(run, video, tmp_path):
    with pytest.raises(detect.UserError, match="is an input or another output; name another file with --scores"):
        detect.main(["--run", str(run), str(video), "--scores", str(video)])
