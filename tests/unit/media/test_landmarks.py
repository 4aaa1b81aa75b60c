"""Face mesh over time in a small video of a drawn head, of which it is known when the mouth opens."""

from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.core.errors import MediaError
from avdfd.media.face_mesh import LOWER_LIP_INNER, UPPER_LIP_INNER
from avdfd.media.landmarks import read_face
from data.corpus.face import Head, draw_look, draw_motion
from tests.helpers.videos import make_video

FRAMES = 30
OPENS = 12


def talking(path: Path, fps: int = 25, first: int = 0) -> Path:
    """Write a head whose mouth opens at frame 12, the frames before `first` grey, with a click of audio then."""
    rng = np.random.default_rng(3)
    head, motion = Head(draw_look("Asian (South)", "men", rng), rng), draw_motion(1, rng)[0]
    heads = {
        opened: head.frame(motion, np.array([opened, 0.5, 0.1, 0, 0]))[..., ::-1].astype(np.uint8)
        for opened in (0.0, 0.6)
    }
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.width = video.height = 224
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(FRAMES):
            image = heads[0.6 if number >= OPENS else 0.0] if number >= first else np.full((224, 224, 3), 90, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image))))
        container.mux(video.encode())
        samples = np.zeros((1, FRAMES * 16_000 // fps), np.int16)
        samples[0, OPENS * 16_000 // fps] = 20_000
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = 16_000
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


@pytest.mark.parametrize("fps", [25, 50])
def test_mouth_and_audio_share_their_time(tmp_path, fps):
    face = read_face(talking(tmp_path / "clip.mkv", fps))
    count = FRAMES * 25 // fps
    assert face.landmarks.shape == (count, 468, 3)
    assert face.found.all()
    assert len(face.audio) == 640 * count
    opening = face.landmarks[:, LOWER_LIP_INNER, 1] - face.landmarks[:, UPPER_LIP_INNER, 1]
    opens = int(np.diff(opening).argmax()) + 1
    assert opens == OPENS * 25 // fps
    assert abs(int(np.abs(face.audio).argmax()) / 640 - opens) < 0.1


def test_moments_without_a_face_take_the_nearest_one(tmp_path):
    face = read_face(talking(tmp_path / "clip.mkv", first=4))
    assert face.found.tolist() == [False] * 4 + [True] * (FRAMES - 4)
    np.testing.assert_array_equal(face.landmarks[0], face.landmarks[4])


def test_clips_without_a_face_or_audio_are_refused(tmp_path):
    with pytest.raises(MediaError, match="no face"):
        read_face(make_video(tmp_path / "grey.mp4", 1.0))
    with pytest.raises(MediaError, match="audio"):
        read_face(make_video(tmp_path / "mute.mp4", 1.0, audio=None))
