"""Audio and frames of windows: converted, upright, cropped to a face or whole."""

import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.elements import unpack
from avdfd.features.window import SAMPLE_RATE
from avdfd.media import face_mesh, face_windows
from avdfd.media.audio import read_audio
from avdfd.media.video import read_video
from avdfd.media.windows import extract
from tests.helpers.recordings import clicks, frame_number, numbered_frame, record
from tests.helpers.windows import CLICKS, check_alignment, constant
from tests.paths import CLIPS


def test_channels_are_averaged_and_resampled_to_16_khz(tmp_path):
    rate, t = 48_000, np.arange(4 * 48_000) / 48_000
    left = 0.6 * np.sin(2 * np.pi * 440 * t)
    path = record(
        tmp_path / "clip.mkv", constant(25, 4), np.stack([left, np.zeros_like(left)]),
        rate=rate, layout="stereo", audio_codec="pcm_s16le",
    )  # fmt: skip
    (piece,) = read_audio(path)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(piece.samples)) / SAMPLE_RATE)
    assert abs(len(piece.samples) - 4 * SAMPLE_RATE) <= 1
    assert np.abs(piece.samples - expected)[500:-500].max() < 1e-3


def test_8_khz_audio_and_10_bit_video_are_converted(tmp_path):
    times = constant(25, 4)
    path = record(
        tmp_path / "clip.mkv", times, clicks(4, 8_000, CLICKS[:5]), rate=8_000, audio_codec="pcm_s16le",
        pix_fmt="yuv420p10le",
    )  # fmt: skip
    check_alignment(path, times, MediaConfig())
    image = next(read_video(path, "pyav")).rgb()
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - numbered_frame(0)).mean() < 4


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_video_is_read_upright(tmp_path, angle):
    stored = np.full((120, 160, 3), 30, np.uint8)
    stored[:40, :40] = 220  # top left as stored
    rotation = angle if angle <= 180 else angle - 360
    path = record(tmp_path / "clip.mp4", [0, 0.04], None, size=(120, 160), images=[stored] * 2, rotation=rotation)
    frame = next(read_video(path, "pyav"))
    expected = np.rot90(stored, angle // 90)
    assert frame.rgb().shape == expected.shape
    assert np.abs(frame.rgb().astype(int) - expected).mean() < 4
    assert np.abs(frame.gray().astype(int) - expected[..., 0]).mean() < 4


def test_224_frames_are_not_resampled(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    path = record(
        tmp_path / "clip.mkv", constant(25, 4), clicks(4, 16_000, []), rate=16_000, codec="ffv1", pix_fmt="bgr0",
        options={}, audio_codec="pcm_s16le", images=[image] * 100,
    )  # fmt: skip
    frames = unpack(extract(path, MediaConfig(jpeg_quality=100))[0]["parts"]).frames
    assert np.abs(frames.astype(int) - image).max() <= 4  # error of JPEG only


@pytest.mark.parametrize("size", [(240, 320), (96, 64)])
def test_whole_frames_need_no_face(size, tmp_path, monkeypatch):
    """Frames are resized whatever their proportions: the number that a frame shows across its width stays readable."""
    monkeypatch.setattr(face_windows, "FaceTracker", lambda config: pytest.fail("looked for a face"))
    path = record(tmp_path / "clip.mp4", constant(25, 6.4), clicks(6.4, 16_000, []), rate=16_000, size=size)
    windows = extract(path, MediaConfig(face=None))
    assert [(window["start"], window["face"]) for window in windows] == [(0.0, None), (3.072, None)]
    frames = unpack(windows[0]["parts"]).frames
    assert frames.shape == (77, 224, 224, 3)
    assert [frame_number(frame) for frame in frames] == list(range(77))
    assert frames[0, :48].mean() == pytest.approx(128, abs=4), "the grey quarter above stays a quarter"


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are missing")
def test_face_of_a_real_clip_fills_the_crop():
    path = CLIPS / "real" / "dfdc-ayhm__orig__49cf17.mp4"
    element = unpack(extract(path, MediaConfig(max_windows=1))[0]["parts"])
    for frame in element.frames[::10]:
        (face,) = face_mesh.detect(frame)
        assert face.box[2] == pytest.approx(224 / 1.5, rel=0.2)
        assert face.box[:2] + face.box[2:] / 2 == pytest.approx([112, 112], abs=20)
