"""Windows of videos with moving, leaving and several faces: which face is in the crop, and what is said about it."""

import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.core.errors import MediaError
from avdfd.elements import unpack
from avdfd.features.mouth_shape import PLACE
from avdfd.media import face_windows
from avdfd.media.face_mesh import detect
from avdfd.media.windows import windows
from tests.helpers.heads import FPS, SIZE, Place, scene
from tests.helpers.recordings import record

COUNT = 80  # frames: one window
LEFT, RIGHT = Place(130, 130), Place(350, 130, seed=5)


def talk(seed: int) -> np.ndarray:
    """Return how far a mouth is open (80,): syllables with pauses."""
    rng = np.random.default_rng(seed)
    track = np.interp(np.arange(COUNT), np.arange(0, COUNT, 3), rng.uniform(0, 1, len(range(0, COUNT, 3))))
    return track * (np.sin(np.arange(COUNT) / 6 + rng.uniform(0, 6)) > -0.3)


def write(path, images, loud=None):
    """Write images with noise that is as loud as `loud` (T,) says."""
    samples = len(images) * 16_000 // FPS
    level = 1.0 if loud is None else np.interp(np.arange(samples) / 640, np.arange(len(loud)), loud) + 0.002
    noise = np.random.default_rng(0).normal(0, 0.15, samples) * level
    times = [n / FPS for n in range(len(images))]
    return record(path, times, noise, rate=16_000, size=SIZE, images=images)


def test_crop_follows_the_face_across_the_frame(tmp_path):
    path = write(tmp_path / "a.mp4", [scene([Place(80 + 4 * n, 130)]) for n in range(COUNT)])
    [window] = windows(path, MediaConfig())
    face = window["face"]
    assert (face.number, face.present, face.judged, face.speaks) == (1, 1, True, False)
    assert face.time == pytest.approx(38 / 25, abs=0.01)
    assert face.box[0] + face.box[2] / 2 == pytest.approx(80 + 4 * 38, abs=6)
    assert face.squares.shape == (77, 3)
    frames = unpack(window["parts"]).frames
    for frame in frames[::8]:
        [found] = detect(frame)
        assert found.box[:2] + found.box[2:] / 2 == pytest.approx([112, 112], abs=22)
        assert found.box[2] == pytest.approx(224 / 1.5, rel=0.2)


def test_window_that_the_face_leaves_is_listed(tmp_path):
    images = [scene([Place(240 + max(0, n - 85) * 20, 130)]) for n in range(240)]
    path = write(tmp_path / "a.mp4", images)
    found = list(windows(path, MediaConfig()))
    assert [window.get("reason") for window in found] == [
        None, "face in the crop for less than 90% of the frames", "no face found"
    ]  # fmt: skip
    assert "parts" not in found[1]
    with pytest.raises(MediaError, match=r"^face in the crop for less than 100% of the frames, no face found$"):
        list(windows(write(tmp_path / "b.mp4", images[60:]), MediaConfig(face={"min_found": 1})))
    assert len(list(windows(path, MediaConfig(face={"min_found": 0.05})))) == 3


@pytest.mark.parametrize("speaker", [0, 1])
def test_the_face_whose_mouth_moves_with_the_audio_is_taken(speaker, tmp_path):
    """The other one is larger, and moves its mouth, too."""
    own, other = talk(1), talk(7)
    images = []
    for a, b in zip(own, other, strict=True):
        openings = (a, b) if speaker == 0 else (b, a)
        places = [LEFT._replace(opening=openings[0], side=120), RIGHT._replace(opening=openings[1], side=120)]
        places[1 - speaker] = places[1 - speaker]._replace(side=160)
        images.append(scene(places))
    [window] = windows(write(tmp_path / "a.mp4", images, own), MediaConfig())
    face = window["face"]
    assert (face.present, face.speaks) == (2, True)
    assert face.box[0] + face.box[2] / 2 == pytest.approx((LEFT, RIGHT)[speaker].x, abs=8)


def test_of_faces_of_which_none_speaks_the_largest_is_taken(tmp_path):
    images = [scene([LEFT, RIGHT._replace(side=190)])] * COUNT
    path = write(tmp_path / "a.mp4", images)
    [window] = windows(path, MediaConfig())
    face = window["face"]
    assert (face.number, face.present, face.judged, face.speaks) == (1, 2, True, False)
    assert face.box[0] > 240
    assert face.facts() == {
        "number": 1, "present": 2, "speaks": False, "time": 1.52, "left": face.box[0], "top": face.box[1],
        "width": face.box[2], "height": face.box[3],
    }  # fmt: skip


def test_all_faces_give_a_window_each(tmp_path):
    path = write(tmp_path / "a.mp4", [scene([LEFT, RIGHT._replace(side=190)])] * COUNT)
    first, second = windows(path, MediaConfig(), all_faces=True)
    assert (first["face"].number, first["face"].judged) == (1, True)
    assert (second["face"].number, second["face"].judged) == (2, False)
    assert first["start"] == second["start"]
    assert first["face"].box[0] > 240 > second["face"].box[0]
    assert first["parts"]["wav"] == second["parts"]["wav"]
    assert first["parts"]["mjpeg"] != second["parts"]["mjpeg"]
    [alone] = windows(path, MediaConfig())
    assert alone["parts"] == first["parts"]


def test_frame_of_two_windows_is_encoded_once(tmp_path, monkeypatch):
    calls = []
    encode = face_windows.encode_bgr
    monkeypatch.setattr(face_windows, "encode_bgr", lambda *given: calls.append(1) or encode(*given))
    path = write(tmp_path / "a.mp4", [scene([Place(150 + n, 130)]) for n in range(100)])
    first, second = windows(path, MediaConfig(hop=0.8))
    assert np.array_equal(unpack(first["parts"]).frames[20:], unpack(second["parts"]).frames[:57])
    assert len(calls) == 97


def test_landmarks_of_windows(tmp_path):
    path = write(tmp_path / "a.mp4", [scene([Place(130, 130)]) for _ in range(COUNT)])
    kept = ["waveform", "mel", "frames", "landmarks"]
    [plain] = windows(path, MediaConfig())
    [window] = windows(path, MediaConfig(keep=kept))
    landmarks = window["parts"].pop("landmarks.npy")
    assert window["parts"] == plain["parts"]
    points = unpack({"landmarks.npy": landmarks}).landmarks
    assert points.shape == (77, 71, 3)
    assert points[:, [PLACE[33], PLACE[263], PLACE[152]], :2].mean(axis=(0, 1)) == pytest.approx([112, 112], abs=22)
    assert (points[:, PLACE[33], 0] < points[:, PLACE[263], 0] - 40).all()


def test_window_without_landmarks_is_listed(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (COUNT, 224, 224, 3)).astype(np.uint8)
    path = record(tmp_path / "a.mp4", [n / FPS for n in range(COUNT)], np.ones(51_200), size=(224, 224), images=images)
    assert [*windows(path, MediaConfig())]
    with pytest.raises(MediaError, match="^landmarks found in less than half of the frames$"):
        [*windows(path, MediaConfig(keep=["waveform", "frames", "landmarks"]))]
