from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.video_list import ListedVideo, VideoList
from avdfd.inference.outputs import check_drawing, check_is_table, check_table, write_prediction
from avdfd.inference.verdict import table


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.wav"
    path.write_bytes(b"no media")
    return path


def test_a_table_replaces_no_input_and_no_folder(tmp_path, file):
    check_table("--scores", tmp_path / "out.csv", [file])
    with pytest.raises(UserError, match="is an input or another output; name another file with --scores"):
        check_table("--scores", tmp_path / "x" / ".." / "in.wav", [file])
    with pytest.raises(UserError, match="is a folder; name a file with --scores"):
        check_table("--scores", tmp_path, [file])


def test_a_table_replaces_only_such_tables(tmp_path):
    path = tmp_path / "out.csv"
    check_is_table(path)
    path.write_text(",".join(table([])[0]) + "\n")
    check_is_table(path)
    path.write_text("video_name,target\na.mp4,1\n")
    with pytest.raises(UserError, match="not a table of detect.py, and not replaced by one"):
        check_is_table(path)


def test_a_drawing_is_of_one_file_of_a_known_kind_and_replaces_no_input(tmp_path, file):
    check_drawing("--plot", tmp_path / "out.png", [file], (".png",))
    for path, files, message in (
        (tmp_path / "out.png", [file, file], "--plot draws one file, but there are 2"),
        (tmp_path / "out.gif", [file], "--plot cannot write this file type; use one of .png .wav"),
        (file, [file], "is the input file; choose another path for --plot"),
        (tmp_path / "absent" / "out.png", [file], "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            check_drawing("--plot", path, files, (".png", ".wav"))


def test_the_prediction_has_every_video_of_the_list(tmp_path):
    videos = [ListedVideo(name, name, None, f"list.csv:{line}") for line, name in enumerate(("a.mp4", "b.mp4"), 2)]
    out = tmp_path / "prediction.csv"
    assert write_prediction(out, VideoList(Path("root"), videos, []), {"root/b.mp4": 0.25}) == 1
    assert out.read_text().splitlines() == ["video_name,y_pred", "a.mp4,", "b.mp4,0.25"]
