"""Files of which no window can be cut, each with its reason."""

import numpy as np

from avdfd.config import MediaConfig
from avdfd.media.windows import extract
from tests.helpers.recordings import clicks, record
from tests.helpers.windows import CLICKS, constant, reason


def test_each_kind_of_unusable_file_has_its_reason(tmp_path):
    audio, times = clicks(5, 16_000, CLICKS), constant(25, 5)
    silence = np.zeros(5 * 16_000)
    good = record(tmp_path / "good.mp4", times, audio, rate=16_000)
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    truncated = tmp_path / "truncated.mp4"
    truncated.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    front = record(tmp_path / "front.mp4", times, audio, rate=16_000, options={"movflags": "faststart"})
    reasons = {
        "no audio": reason(record(tmp_path / "a.mp4", times, None)),
        "no video": reason(record(tmp_path / "v.mp4", [], audio, rate=16_000)),
        "silent": reason(record(tmp_path / "s.mp4", times, silence, rate=16_000)),
        "short": reason(record(tmp_path / "h.mp4", constant(30, 0.8), clicks(0.8, 16_000, []), rate=16_000)),
        "slow": reason(record(tmp_path / "l.mp4", constant(1, 5), audio, rate=16_000)),
        "one frame": reason(record(tmp_path / "o.mp4", [0], audio, rate=16_000)),
        "text": reason(text),
        "empty": reason(empty),
        "truncated": reason(truncated),
        "missing": reason(tmp_path / "nothing.mp4"),
    }
    assert reasons == {
        "no audio": "no audio stream",
        "no video": "no video stream",
        "silent": "silent audio",
        "short": "shorter than 1 s: 0.80 s of common audio and video",
        "slow": "1 frames a second: a window needs frames at most 0.5 s apart",
        "one frame": "one frame only",
        "text": "not a media file",
        "empty": "empty file",
        "truncated": reasons["truncated"],
        "missing": "no such file",
    }
    assert reasons["truncated"].startswith("cannot be decoded, damaged or truncated")
    assert extract(front, MediaConfig())


def test_truncated_file_that_opens_is_rejected(tmp_path):
    path = record(tmp_path / "clip.mkv", constant(25, 8), clicks(8, 16_000, CLICKS), rate=16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "truncated" in reason(path)


def test_video_without_a_face_has_its_reason(tmp_path):
    path = record(tmp_path / "clip.mp4", constant(25, 4), clicks(4, 16_000, []), rate=16_000, size=(240, 320))
    assert reason(path) == "no face found"
