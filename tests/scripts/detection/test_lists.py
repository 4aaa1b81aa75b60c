"""detect.py on a list of videos: predictions and submissions."""

from pathlib import Path

import pytest

import detect
from avdfd.core.errors import WorkError
from tests.helpers.detection import lines_of, refused


@pytest.mark.usefixtures("in_process")
def test_the_videos_of_a_list_get_a_prediction(run, videos, tmp_path, capsys):
    """Their eval.py fills unreadable videos with zeros; here they have no score."""
    listed, out = tmp_path / "testset.csv", tmp_path / "prediction.csv"
    listed.write_text("video_name,target\ngood.mp4,1\nbelow/LONG.MP4,0\ngone.mp4,0\ntext.mp4,1\ngood.mp4,1\n")
    arguments = ["--run", run, "--csv", listed, "--root", videos, "--prediction", out]
    code, lines = lines_of(arguments, capsys)
    assert code == 1
    scores = {Path(line["file"]).name: line["score"] for line in lines}
    errors = {Path(line["file"]).name: line["error"] for line in lines if line["error"]}
    assert errors == {"gone.mp4": "no such file", "text.mp4": "not a media file"}
    scored = [f"{name},{scores[name]}" for name in ("good.mp4", "LONG.MP4")]
    assert out.read_text().splitlines() == ["video_name,y_pred", *scored, "gone.mp4,", "text.mp4,"]
    handed = [*arguments, "--submission", "av-deepfake1m-detection", tmp_path / "prediction.txt"]
    with pytest.raises(WorkError, match="2 of 4 files have no score, e.g. gone.mp4"):
        detect.main([*map(str, handed)])
    assert detect.main([*map(str, handed), "--missing", "0.5"]) == 1
    assert "prediction.txt: 4 files, 2 of them without a score" in capsys.readouterr().err
    expected = [f"good.mp4;{scores['good.mp4']}", f"below/LONG.MP4;{scores['LONG.MP4']}"]
    assert (tmp_path / "prediction.txt").read_text().split() == [*expected, "gone.mp4;0.5", "text.mp4;0.5"]
    listed.write_text(f"{videos}/good.mp4\n")
    detect.main([str(word) for word in ["--run", run, "--csv", listed, "--prediction", out]])
    said = capsys.readouterr()
    assert "prediction.csv: 1 of 1 videos have a score" in said.err
    assert out.read_text().splitlines()[1].startswith("good.mp4,0.")


def test_lists_that_cannot_be_scored_are_refused(run, videos, tmp_path):
    listed = tmp_path / "testset.csv"
    listed.write_text("good.mp4,0\n")

    def problem(*arguments):
        return refused("--run", run, *arguments)

    assert "name the files to score, or a list of them with --csv" in problem()
    assert "to score the videos of a list, leave out the files" in problem(videos / "good.mp4", "--csv", listed)
    assert listed.read_text() == "good.mp4,0\n"
    both = ["--csv", tmp_path / "a.csv", "--scores", tmp_path / "b.csv"]
    assert "--csv and --scores write the same table" in problem(videos / "good.mp4", *both)
    assert "is an input or another output; name another file" in problem("--csv", listed, "--prediction", listed)
    assert "is a folder; name a file" in problem("--csv", listed, "--prediction", tmp_path)
    assert "--submission x: no such form; use one of av-deepfake1m, " in problem(
        "--csv", listed, "--submission", "x", tmp_path / "x"
    )
    twice = ("--submission", "csv", tmp_path / "x")
    assert "is an input or another output" in problem("--csv", listed, *twice, *twice)
    listed.write_text("../good.mp4,0\n")
    assert "testset.csv: line 1: '../good.mp4' is not below" in problem("--csv", listed)
