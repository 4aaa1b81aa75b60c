import os

import pytest

from avdfd.config import MediaConfig
from avdfd.core.errors import UserError
from avdfd.inference.inputs import cut_as_in_training, find_files


def test_folders_are_searched_through_links_and_all_else_is_named(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.mp4").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.WAV", "notes.txt", ".c.mp4"):
        (folder / name).touch()
    (folder / "sub").symlink_to(tmp_path / "store")
    (folder / "loop").symlink_to(folder)
    files, left_out = find_files([folder])
    assert files == [folder / "b.WAV", folder / "sub" / "a.mp4"]
    no_media = "hidden, or no media file, by its suffix and content"
    circle = "a link to a folder that contains it; it was not entered"
    assert left_out == {folder / ".c.mp4": no_media, folder / "loop": circle, folder / "notes.txt": no_media}


def test_each_file_is_taken_once_in_the_order_of_the_request(tmp_path):
    for name in ("b.wav", "a.mp4"):
        (tmp_path / name).touch()
    files, left_out = find_files([tmp_path / "b.wav", tmp_path])
    assert files == [tmp_path / "b.wav", tmp_path / "a.mp4"]
    assert left_out == {}


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, message in (
        ("texts", "no media file in this folder"),
        ("pipe.mp4", "a FIFO, not a file"),
        ("absent.mp4", "no such file or folder"),
    ):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            find_files([tmp_path / name])


def test_files_are_cut_as_the_elements_of_the_training_were():
    given = MediaConfig(hop=1.0, time_limit=5.0)
    trained = MediaConfig(hop=2.0, max_windows=3, face=None, trim_silence=False, jpeg_quality=70, time_limit=9.0)
    found = cut_as_in_training(given, trained, hop=False, whole_frame=False)
    assert (found.hop, found.max_windows, found.face, found.jpeg_quality) == (2.0, 3, None, 70)
    assert found.time_limit == 5.0, "no matter of the elements"
    asked = cut_as_in_training(given, trained, hop=True, whole_frame=False)
    assert (asked.hop, asked.max_windows, asked.jpeg_quality) == (1.0, given.max_windows, 70)


def test_the_whole_frame_is_taken_if_it_is_asked_for():
    assert MediaConfig().face is not None
    for trained in (None, MediaConfig()):
        assert cut_as_in_training(MediaConfig(), trained, hop=False, whole_frame=True).face is None
        assert cut_as_in_training(MediaConfig(), trained, hop=False, whole_frame=False).face is not None
