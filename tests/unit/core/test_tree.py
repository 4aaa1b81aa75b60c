"""Walking of folders: links, loops, and names that no table can hold."""

import os
import socket

from avdfd.core.clips import Files, media_files
from avdfd.core.tree import tidy, walk


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_links_to_folders_are_followed_and_loops_noticed(tmp_path):
    touch(tmp_path, "store/real/x.mp4", "store/fake/deep/y.mp4", "root/real/a.mp4")
    (tmp_path / "root/real/sub").symlink_to("../../store/real")
    (tmp_path / "root/fake").symlink_to(tmp_path / "store/fake")
    (tmp_path / "store/real/back").symlink_to("../../root")
    (tmp_path / "root/self").symlink_to("self")
    (tmp_path / "root/gone").symlink_to("nowhere")
    found = dict(walk(tmp_path / "root"))
    files = {"real/a.mp4", "real/sub/x.mp4", "fake/deep/y.mp4"}
    assert {source for source, reason in found.items() if not reason} == files
    assert {source: reason for source, reason in found.items() if reason} == {
        "real/sub/back": "a link to a folder that contains it; it was not entered",
        "self": "a link to nothing",
        "gone": "a link to nothing",
    }
    assert set(media_files(tmp_path / "root")) == files
    assert set(media_files(tmp_path / "root", "real")) == {"real/a.mp4", "real/sub/x.mp4"}


def test_one_folder_under_two_names_is_no_loop(tmp_path):
    touch(tmp_path, "all/x.mp4")
    for name in ("train", "val"):
        (tmp_path / name).symlink_to("all")
    assert set(media_files(tmp_path)) == {"all/x.mp4", "train/x.mp4", "val/x.mp4"}


def test_names_that_are_not_utf8_and_folders_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "closed/b.mp4")
    open(os.fsencode(tmp_path) + b"/caf\xe9.mp4", "w").close()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert dict(walk(tmp_path)) == {
        "a.mp4": "",
        "caf\\udce9.mp4": "its name is not UTF-8; rename it",
        "closed": "a folder that cannot be read (Permission denied)",
    }


def test_tidy_names():
    assert tidy("sub\\a.mp4") == tidy("./sub//a.mp4") == "sub/a.mp4"
    assert tidy("e\u0301.mp4") == "\u00e9.mp4"
    assert tidy("") == ""


def test_files_are_found_as_tables_name_them(tmp_path):
    touch(tmp_path, "sub/e\u0301.mp4", "back\\slash.mp4", "n\u00e9.mp4", "ne\u0301.mp4")
    files = Files(tmp_path)
    assert files.find("sub\\\u00e9.mp4") == "sub/e\u0301.mp4"
    assert files.find("back\\slash.mp4") == "back\\slash.mp4", "a file that is named so"
    assert [files.find(name) for name in ("n\u00e9.mp4", "ne\u0301.mp4")] == ["n\u00e9.mp4", "ne\u0301.mp4"]
    assert files.find(".\\no\\gone.mp4") == "no/gone.mp4"


def test_only_regular_files_are_files(tmp_path):
    touch(tmp_path, "a.mp4", "folder.mp4/b.mp4")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
        assert dict(walk(tmp_path)) == {
            "a.mp4": "",
            "folder.mp4/b.mp4": "",
            "fifo.mp4": "a FIFO, not a file",
            "socket.mp4": "a socket, not a file",
            "zero.mp4": "a device, not a file",
        }
