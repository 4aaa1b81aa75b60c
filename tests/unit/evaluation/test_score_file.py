"""Files of scores: columns, names, numbers, scales, and one line for each thing that is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from avdfd.core.errors import UserError
from avdfd.evaluation.score_file import LOG_ODDS, RANK, ScoreFile, read_scores

SOURCES = ("RealVideo/men/id5/00000.mp4", "RealVideo/men/id6/00000.mp4", "FakeVideo/men/id5/other.mp4")


def scored(tmp_path, text, sources=SOURCES, **options):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return read_scores(ScoreFile(path, **options), sources)


def of_clips(found):
    """Scores of a file with one row per clip."""
    return {source: of.values.item() for source, of in found.scores.items()}


def refused(tmp_path, text, **options):
    with pytest.raises(UserError) as caught:
        scored(tmp_path, text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_rows_name_clips_by_the_tail_of_their_path(tmp_path):
    found = scored(
        tmp_path,
        "file,score\n/mnt/x/RealVideo/men/id5/00000.wav,0.25\nmen\\id6\\00000.mp4,0.5\nother,0.75\nsome/other.mp4,0.1\n",
    )
    assert of_clips(found) == {SOURCES[0]: 0.25, SOURCES[1]: 0.5, SOURCES[2]: 0.75}
    assert found.unknown == ["some/other.mp4"], "its folder is another one"
    assert (found.rows, found.named, found.seeds, found.window_column) == (4, 4, (0,), None)


def test_a_dot_in_a_name_without_suffix_is_no_suffix(tmp_path):
    found = scored(tmp_path, "file,score\na.b,0.5\n", ("x/a.b.mp4",))
    assert of_clips(found) == {"x/a.b.mp4": 0.5}


def test_the_suffix_decides_between_files_of_one_name(tmp_path):
    assert of_clips(scored(tmp_path, "file,score\na.wav,0.5\n", ("x/a.mp4", "x/a.wav"))) == {"x/a.wav": 0.5}


def test_a_cell_without_a_number_is_no_score(tmp_path):
    found = scored(tmp_path, f"video_name,y_pred\n{SOURCES[0]},\n{SOURCES[1]},0.5\n")
    assert of_clips(found) == {SOURCES[1]: 0.5}
    assert found.empty == {SOURCES[0]: f"{tmp_path}/scores.csv: line 2"}
    assert found.columns == ("video_name", "y_pred")


def test_parquet_is_read(tmp_path):
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"Path": [*SOURCES], "P": np.array([0.5, 0.25, 0.125], np.float32), "x": [1, 2, 3]}), path)
    found = read_scores(ScoreFile(path, score_column="P"), SOURCES)
    assert of_clips(found) == dict(zip(SOURCES, (0.5, 0.25, 0.125), strict=True))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scale": LOG_ODDS}, expit([-2.0, 0.5, 3.0])),
        ({"scale": LOG_ODDS, "higher_is_real": True}, expit([2.0, -0.5, -3.0])),
        ({"scale": RANK}, [1 / 6, 2 / 3, 7 / 8]),
    ],
)
def test_scales(tmp_path, options, expected):
    text = "file,score\n" + "".join(f"{s},{v}\n" for s, v in zip(SOURCES, (-2, 0.5, 3), strict=True))
    assert [*of_clips(scored(tmp_path, text, **options)).values()] == pytest.approx(expected)


def test_a_higher_probability_may_mean_real(tmp_path):
    found = scored(tmp_path, f"file,score\n{SOURCES[0]},0.25\n", higher_is_real=True)
    assert of_clips(found) == {SOURCES[0]: 0.75}


def test_rows_may_be_windows_and_seeds(tmp_path):
    """In any order; a window is named by its start or its number, a seed by a column or by a number in the name."""
    one, other = SOURCES[:2]
    lines = [f"{one},1.5,1,0.4", f"{one},0,0,0.1", f"{other},0,1,0.8", f"{one},0,1,0.2", f"{one},1.5,0,0.3"]
    lines += [f"{other},0,0,0.7", "nobody,0,0,0.5", "nobody,1,0,0.5"]
    found = scored(tmp_path, "\n".join(["file,start,seed,score", *lines]))
    assert (found.seeds, found.window_column, found.rows, found.named) == ((0, 1), "start", 8, 3)
    assert found.scores[one].values.tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert found.scores[one].places.tolist() == [0.0, 1.5]
    assert found.scores[other].values.tolist() == [[0.7], [0.8]]
    assert found.unknown == ["nobody"]
    wide = scored(tmp_path, f"clip,window,fused[0],fused[1]\n{one},2,0.3,0.4\n{one},0,0.1,0.2\n")
    assert wide.scores[one].values.tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert (wide.columns, wide.window_column) == (("clip", "fused"), "window")
    assert scored(tmp_path, f"clip,mine[0],mine[1]\n{one},0.3,0.4\n", score_column="mine").seeds == (0, 1)


def test_a_clip_with_an_empty_window_has_no_score(tmp_path):
    found = scored(tmp_path, f"file,start,score\n{SOURCES[0]},0,0.5\n{SOURCES[0]},3,\n{SOURCES[1]},0,0.25\n")
    assert of_clips(found) == {SOURCES[1]: 0.25}
    assert found.empty == {SOURCES[0]: f"{tmp_path}/scores.csv: line 3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,score\n00000.mp4,0.5\n", "line 2: '00000.mp4' may be 2 clips, e.g. 'RealVideo/men/id5/00000.mp4'"),
        ("file,score\nother.mp4,0.5\nmen/id5/other.mp4,0.5\n", "line 3: a second score of 'FakeVideo/men/id5/other"),
        ("file,score\nnobody,0.5\nnobody,0.5\n", "line 3: a second score of 'nobody'"),
        ("file,score\nother.mp4,nan\n", "line 2: column 'score' has 'nan', which is not a finite number"),
        ("file,score\nother.mp4,inf\n", "not a finite number"),
        ("file,score\nother.mp4,high\n", "line 2: column 'score' has 'high', which is not a finite number"),
        ("file,score\n,0.5\n", "line 2: column 'file' has '', which is not the name of a file"),
        ("file,score\nother.mp4,1.5\n", "line 2: score 1.5 is not a probability; state what the scores are"),
        ("file,score\nnobody.mp4,0.5\n", "none of its 1 rows is the score of a clip, e.g. 'nobody.mp4', but 'RealVi"),
        ("file,score\nother.mp4,\n", "none of its 1 rows is the score of a clip"),
        ("file,start,score\nother,0,0.5\nother,0.0,0.5\n", "a second score of 'FakeVideo/men/id5/other.mp4', start 0"),
        ("file,seed,score\nother,0,0.5\nid6/00000,1,0.5\n", "no score of 'FakeVideo/men/id5/other.mp4', seed 1; write"),
        ("file,seed,score\nother,-1,0.5\n", "line 2: column 'seed' has '-1', which is not a whole number"),
        ("file,start,score\nother,soon,0.5\n", "line 2: column 'start' has 'soon', which is not a finite number"),
        ("file,score[1]\nother,0.5\n", "columns score[1]: expected the seeds from 0 on"),
        ("file,seed,score[0],score[1]\nother,0,0.5,0.5\n", "and in a column 'seed'; keep one"),
        ("file,score\n", "has no rows"),
        ("a,b\nother.mp4,0.5\n", "has no column of a known name; name one of a, b with --file-column"),
        ("file,score,y_pred\nother,0.5,0.5\n", "several columns that may be meant, score, y_pred; name one of file, "),
    ],
)
def test_what_is_refused(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_stated_column_has_to_be_there(tmp_path):
    assert "has no column 'p'" in refused(tmp_path, "file,score\nother.mp4,0.5\n", score_column="p")


def test_scores_that_would_become_equal_are_refused(tmp_path):
    text = f"file,score\n{SOURCES[0]},50\n{SOURCES[1]},60\n{SOURCES[2]},0\n"
    assert "different scores become equal as P(fake), which would change ranks; use --scale rank" in refused(
        tmp_path, text, scale=LOG_ODDS
    )
    assert len({*of_clips(scored(tmp_path, text, scale=RANK)).values()}) == 3


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "scores.parquet").write_text("not a table")
    for name in ("scores.parquet", "gone.csv"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            read_scores(ScoreFile(tmp_path / name), SOURCES)
