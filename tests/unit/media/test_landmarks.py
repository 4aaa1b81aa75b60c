"""Face mesh over time in a small video of a drawn head, of which it is known when the mouth opens."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avdfd.core.errors import MediaError
from avdfd.elements.form import encode_frame
from avdfd.features.mouth_shape import PLACE, USED
from avdfd.media.face_mesh import LOWER_LIP_INNER, UPPER_LIP_INNER, Region, find_mesh
from avdfd.media.landmarks import landmarks_of, read_face
from data.corpus.face import Head, draw_look, draw_motion
from tests.helpers.videos import make_video

FRAMES = 30
OPENS = 12


def heads() -> dict[float, np.ndarray]:
    """Return a head (224, 224, 3) with its mouth closed and open, by how far."""
    rng = np.random.default_rng(3)
    head, motion = Head(draw_look("Asian (South)", "men", rng), rng), draw_motion(1, rng)[0]
    return {
        opened: np.ascontiguousarray(head.frame(motion, np.array([opened, 0.5, 0.1, 0, 0]))[..., ::-1].astype(np.uint8))
        for opened in (0.0, 0.6)
    }


def talking(path: Path, fps: int = 25, first: int = 0) -> Path:
    """Write a head whose mouth opens at frame 12, the frames before `first` grey, with a click of audio then."""
    shown = heads()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        video.width = video.height = 224
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(FRAMES):
            image = shown[0.6 if number >= OPENS else 0.0] if number >= first else np.full((224, 224, 3), 90, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
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


def test_landmarks_of_crops_are_those_of_each_frame_alone():
    closed, opened = (encode_frame(image, 95) for image in heads().values())
    found = landmarks_of([closed, opened, closed])
    assert found is not None
    assert (found.shape, found.dtype) == ((3, 71, 3), np.float32)
    np.testing.assert_array_equal(found[0], found[2])
    gap = found[:, PLACE[LOWER_LIP_INNER], 1] - found[:, PLACE[UPPER_LIP_INNER], 1]
    assert gap[1] > gap[0] + 3
    turned = landmarks_of([opened])
    assert turned is not None
    np.testing.assert_array_equal(turned[0], found[1])
    mesh = find_mesh(heads()[0.6], Region(112, 112, 224, 0))
    assert np.abs(mesh.points[list(USED)] - found[1]).max() < 2, "but for the JPEG"


@pytest.mark.parametrize("size", [112, 160])
def test_a_face_that_does_not_fill_the_crop_is_found_in_the_square_around_it(size):
    image = np.full((224, 224, 3), 90, np.uint8)
    image[20 : 20 + size, 30 : 30 + size] = cv2.resize(heads()[0.6], (size, size), interpolation=cv2.INTER_AREA)
    found = landmarks_of([encode_frame(image, 95)])
    whole = landmarks_of([encode_frame(heads()[0.6], 95)])
    assert found is not None
    assert whole is not None
    apart = found[0, :, :2] - (whole[0, :, :2] * size / 224 + [30, 20])
    assert np.abs(apart).mean() < 1.5


def test_frames_without_a_face_take_the_nearest_one():
    closed, opened = (encode_frame(image, 95) for image in heads().values())
    grey = encode_frame(np.full((224, 224, 3), 90, np.uint8), 95)
    found = landmarks_of([grey, closed, grey, opened])
    assert found is not None
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[1])
    assert landmarks_of([grey, closed, grey]) is None
