"""OpenAVFF's lists of videos: every form that is read, every fault that is named, and its predictions."""

from pathlib import Path

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.video_list import entries, prediction, read_videos

PLAIN = [("a/x.mp4", 0), ("b/y.mp4", 1)]


@pytest.fixture
def read(tmp_path):
    """Write bytes as a list and read it below `tmp_path`."""

    def read(data, root=tmp_path, **choices):
        path = tmp_path / "lists" / "testset.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.format(root=tmp_path).encode())
        return read_videos([path], root, **choices)

    return read


def rows(listed):
    return [(video.source, video.target) for video in listed.videos]


@pytest.mark.parametrize(
    "data",
    [
        "video_name,target\na/x.mp4,0\nb/y.mp4,1\n",
        "a/x.mp4,0\nb/y.mp4,1",
        "target,video_name\n0,a/x.mp4\n1,b/y.mp4\n",
        "video_name,target,source\na/x.mp4,0,web\nb/y.mp4,1,\n",
        "video_name,target\n{root}/a/x.mp4,0\n{root}/b/../b/y.mp4,1\n",
        "{root}/a/x.mp4,0\n./b//y.mp4,1\n",
        b'\xef\xbb\xbfvideo_name,target\r\n\r\n"a/x.mp4", 0\r\n , \r\nb/y.mp4,1 \r\n\r\n',
        "a/x.mp4,0\nvideo_name,target\nb/y.mp4,1\n",
    ],
    ids=["header", "none", "order", "more", "absolute", "mixed", "bom-crlf-quotes-blank", "joined"],
)
def test_all_forms_are_read(data, read):
    assert rows(read(data)) == PLAIN


def test_quoted_commas_and_other_alphabets(read):
    assert rows(read('"a, b/x ü.mp4",1\n視頻/y.mp4,0\n')) == [("a, b/x ü.mp4", 1), ("視頻/y.mp4", 0)]


def test_equal_rows_count_once_and_different_targets_are_refused(read):
    listed = read("a/x.mp4,0\nb/y.mp4,1\na/x.mp4,0\n./a/x.mp4,0\n")
    assert rows(listed) == PLAIN
    assert listed.repeated == 2
    with pytest.raises(UserError, match=r"testset\.csv: line 3: './a/x\.mp4' has target 1, and 0 in .*line 1$"):
        read("a/x.mp4,0\nb/y.mp4,1\n./a/x.mp4,1\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "lists no videos"),
        ("video_name,target\n", "lists no videos"),
        ("video_name,label\na.mp4,0\n", "line 1: has no column 'target'; its columns are video_name, label"),
        ("path,target\na.mp4,0\n", "line 1: is neither the header video_name,target nor"),
        ("a.mp4,fake\nb.mp4,0\n", "line 1: is neither the header"),
        ("a.mp4\nb.mp4\n", "line 1: is neither the header"),
        ("a.mp4,0,0\n", "line 1: is neither the header"),
        ("a.mp4,0\nb.mp4,2\n", "line 2: target '2'; 1 is fake, 0 is real"),
        ("a.mp4,0\n\nb.mp4,\n", "line 3: target ''"),
        ("a.mp4,0\nb.mp4\n", "line 2: has 1 cells, not 2"),
        ("a.mp4,0\nb, c.mp4,1\n", "line 2: has 3 cells, not 2; quote a path with commas"),
        ("a.mp4,0\n,1\n", "line 2: '' is not the path of a video"),
        ("a.mp4,0\nb\tc.mp4,1\n", r"line 2: 'b\\tc.mp4' is not the path"),
        ('a.mp4,0\n"b\nc.mp4",1\n', r"line 3: 'b\\nc.mp4' is not the path"),
        (b"a.mp4,0\nb\0c.mp4,1\n", "cannot be read as CSV|is not the path"),
        ("a.mp4,0\n../b.mp4,1\n", "line 2: '../b.mp4' is not below .*; name a root that contains it, such as /"),
        ("a.mp4,0\nc/../../b.mp4,1\n", "line 2: .* is not below"),
        ("a.mp4,0\n/etc/passwd,1\n", "line 2: '/etc/passwd' is not below"),
        ("a.mp4,0\n.,1\n", "line 2: '.' is not below"),
        ("a.mp4,0\n{root},1\n", "line 2: '/.*' is not below"),
        ("a.mp4,0\n{root}-2/b.mp4,1\n", "line 2: '/.*-2/b.mp4' is not below"),
        ("a.mp4,0\n//etc/passwd,1\n", "line 2: '//etc/passwd' is not below"),
        ("a.mp4,0\n" + "b" * 300 + ",1\n", "line 2: a name of more than 255 bytes"),
        (b"a.mp4,0\nb\xff.mp4,1\n", "cannot be read as CSV in UTF-8"),
        ('a.mp4,0\n"b.mp4,1\n', "cannot be read as CSV in UTF-8"),
        ("a.mp4,0\n" + "b" * 200_000 + ",1\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_faults_are_named(data, message, read):
    with pytest.raises(UserError, match=message) as error:
        read(data)
    assert "testset.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_lists_and_roots_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such list of videos"):
        read_videos([tmp_path / "none.csv"], tmp_path)
    with pytest.raises(UserError, match="no such list of videos"):
        read_videos([tmp_path], tmp_path)
    with pytest.raises(UserError, match=r"no such folder; name the root of the videos in .*none\.csv"):
        read_videos([tmp_path / "none.csv"], tmp_path / "gone")


def test_without_a_root_paths_start_at_the_list(read, tmp_path):
    listed = read("a/x.mp4\n/data/y.mp4\n", root=None, targets=False)
    assert listed.files == [tmp_path / "lists" / "a" / "x.mp4", Path("/data/y.mp4")]
    assert rows(listed) == [("a/x.mp4", None), ("/data/y.mp4", None)]
    assert rows(read("a/x.mp4,1\n", None, targets=False)) == [("a/x.mp4", None)]
    with pytest.raises(UserError, match="'../x.mp4' is not below the folder of the list"):
        read("../x.mp4\n", root=None, targets=False)


def test_the_root_of_the_system_contains_all(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("/data/x.mp4,0\n//disk/y.mp4,0\n")
    assert rows(read_videos([path], Path("/"))) == [("data/x.mp4", 0), ("disk/y.mp4", 0)]


def test_a_root_behind_a_link_contains_both_paths(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    path = tmp_path / "list.csv"
    path.write_text(f"{tmp_path}/data/x.mp4,0\n{tmp_path}/disk/y.mp4,0\n")
    assert rows(read_videos([path], tmp_path / "data")) == [("x.mp4", 0), ("y.mp4", 0)]


def test_entries_of_a_list(read, tmp_path):
    for name in ("b/y.mp4", "id00012/abc/00001.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "x.mp4").mkdir(parents=True)
    real, fake, gone, folder = (
        next(entry for entry in entries(read("id00012/abc/00001.mp4,0\nb/y.mp4,1\nc/z.mp4,1\na/x.mp4,0\n"))
             if entry.clip.source == source)
        for source in ("id00012/abc/00001.mp4", "b/y.mp4", "c/z.mp4", "a/x.mp4")
    )  # fmt: skip
    assert (real.clip.tier, real.clip.method, real.clip.identities, real.problem) == ("RVRA", "real", ("id00012",), "")
    assert (fake.clip.tier, fake.clip.method, fake.clip.identities, fake.problem) == (
        "FAKE", "unknown", ("b/y",), ""
    )  # fmt: skip
    assert (fake.clip.label, fake.clip.label_audio, fake.clip.label_video) == (1, None, None)
    assert gone.problem == f"listed in {tmp_path / 'lists' / 'testset.csv'}, but there is no such file"
    assert folder.problem


def test_predictions_have_their_columns_and_all_rows(read):
    listed = read("a/x.mp4,0\nb/y.mp4,1\nc/x.mp4,1\n")
    assert prediction(listed, {"a/x.mp4": 0.25, "b/y.mp4": 1 / 3}) == [
        ("video_name", "y_pred"), ("a/x.mp4", "0.25"), ("y.mp4", "0.3333333333333333"), ("c/x.mp4", "")
    ]  # fmt: skip
