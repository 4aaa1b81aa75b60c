"""Fixtures of detect.py."""

import pytest

from tests.helpers.runs import make_run
from tests.helpers.videos import make_video


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), "train")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a good video, a longer one below it, and files that cannot be used."""
    root = tmp_path_factory.mktemp("videos")
    (root / "below").mkdir()
    good = make_video(root / "good.mp4", 4.0)
    make_video(root / "below" / "LONG.MP4", 8.0)
    make_video(root / "mute.mp4", 4.0, audio=None)
    make_video(root / "short.mp4", 2.0)
    (root / "text.mp4").write_text("not a video\n" * 100)
    (root / "truncated.mp4").write_bytes(good.read_bytes()[:9000])
    (root / "notes.txt").write_text("is left out")
    return root
