"""A run that judges media files."""

import pytest

from avdfd.config import MediaConfig
from avdfd.core import files
from avdfd.core.workers import Failure
from avdfd.evaluation.judge import load_judge
from avdfd.inference import runs
from avdfd.metrics.selective import Band
from avdfd.training import weights
from tests.helpers.runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), "train")


def test_weights_are_hashed_once(run, monkeypatch):
    """Those of a large encoder take seconds; validation's decisions and its domain are of the same weights."""
    hashed = []

    def sha256_of(path):
        hashed.append(path)
        return files.sha256_of(path)

    for module in (weights, runs):
        monkeypatch.setattr(module, "sha256_of", sha256_of)
    judge = load_judge(str(run), "cpu", [], threshold=None)
    assert hashed == [run / files.BEST]
    assert judge.run.sha256 == files.sha256_of(run / files.BEST)


def test_branches_decide_at_the_threshold_or_at_one_half_without_validation(run):
    assert {one.band for one in load_judge(str(run), "cpu", [], threshold=0.3).decisions.values()} == {Band(0.3, 0.3)}
    judge = load_judge(str(run), "cpu", [], threshold=None)
    assert {one.band for one in judge.decisions.values()} == {Band(0.5, 0.5)}
    [remark] = judge.remarks()
    assert remark.startswith(f"{run}: files unlike its training data are not recognised; evaluate.py --run {run} ")


def test_audio_alone_is_cut_without_frames(run, tmp_path):
    audio = load_judge(str(make_run(tmp_path, "pretrain", run.parent)), "cpu", [], threshold=None)
    asked = {"hop": False, "whole_frame": False, "drawn": False}
    assert audio.media(MediaConfig(), **asked).keep == ["waveform", "mel"]
    assert audio.audio_run is audio.run
    assert "frames" in load_judge(str(run), "cpu", [], threshold=None).media(MediaConfig(), **asked).keep


def test_a_file_that_could_not_be_cut_has_its_reason(run, tmp_path):
    judged = load_judge(str(run), "cpu", [], threshold=None).judge(
        tmp_path / "x.mp4", Failure("silent audio"), explain=False
    )
    assert judged.line["error"] == "silent audio"
    assert judged.line["score"] is None
    assert judged.seen is None
