import numpy as np
import pytest

from avdfd.config import FaceConfig
from avdfd.media import faces
from avdfd.media.faces import Face, FaceTracker, crop, overlap, square


def scripted_tracker(monkeypatch, detections: list[list[tuple[list[float], float]]]) -> FaceTracker:
    """Return a tracker whose detector finds the given (box, score) in each frame, also near a known face."""
    tracker = FaceTracker(FaceConfig())
    current: list[Face] = []
    monkeypatch.setattr(faces, "find", lambda gray, scale: list(current))
    monkeypatch.setattr(
        faces, "near", lambda gray, box: max(current, key=lambda face: overlap(face.box, box), default=None)
    )
    for number, found in enumerate(detections):
        current[:] = [Face(np.array(box, float), score) for box, score in found]
        tracker.search(number / 2, np.zeros((100, 100), np.uint8))
    return tracker


def test_box_is_the_median_of_the_track(monkeypatch):
    boxes = [[100, 50, 80, 80], [104, 52, 84, 84], [102, 54, 82, 82], [102, 51, 120, 120]]
    tracker = scripted_tracker(monkeypatch, [[(box, 1.0)] for box in boxes])
    assert len(tracker.tracks) == 1
    assert tracker.box(0, 2) == pytest.approx(np.median(boxes, axis=0))


def test_large_and_persistent_face_is_chosen(monkeypatch):
    large, small = ([200, 50, 80, 80], 0.5), ([20, 50, 60, 60], 2.0)
    tracker = scripted_tracker(monkeypatch, [[small, large]] * 6)
    assert tracker.box(0, 3) == pytest.approx(large[0])
    tracker = scripted_tracker(monkeypatch, [[small, large]] + [[small]] * 5)
    assert tracker.box(0, 3) == pytest.approx(small[0])


def test_each_shot_has_its_own_box(monkeypatch):
    first, second = ([200, 50, 80, 80], 1.0), ([20, 30, 120, 120], 1.0)
    tracker = scripted_tracker(monkeypatch, [[first]] * 6 + [[second]] * 6)
    assert tracker.box(0, 3) == pytest.approx(first[0])
    assert tracker.box(3, 6) == pytest.approx(second[0])


def test_face_must_be_found_in_half_of_the_searched_frames(monkeypatch):
    face = ([200, 50, 80, 80], 1.0)
    tracker = scripted_tracker(monkeypatch, [[face], [face], [], [], [], []])
    assert tracker.box(0, 3) is None
    assert tracker.box(0, 2) == pytest.approx(face[0])
    assert tracker.box(10, 13) is None


def test_weak_detections_are_ignored(monkeypatch):
    monkeypatch.setattr(faces, "find", lambda gray, scale: [Face(np.array([10.0, 10, 80, 80]), 0.3)])
    tracker = FaceTracker(FaceConfig(min_score=0.5))
    tracker.search(0, np.zeros((100, 100), np.uint8))
    assert tracker.box(0, 1) is None


def test_frames_are_searched_at_the_configured_rate(monkeypatch):
    class Passing:
        def __init__(self, time: float) -> None:
            self.time = time

        def gray(self) -> np.ndarray:
            return np.zeros((100, 100), np.uint8)

    monkeypatch.setattr(faces, "find", lambda gray, scale: [])
    tracker = FaceTracker(FaceConfig(detect_fps=2.0))
    passed = list(tracker.watch([Passing(n / 25) for n in range(50)]))
    assert len(passed) == 50
    assert tracker.searched == pytest.approx([0, 0.52, 1.04, 1.56])


def test_overlap():
    a = np.array([0.0, 0, 10, 10])
    assert overlap(a, a) == 1
    assert overlap(a, np.array([5.0, 0, 10, 10])) == pytest.approx(1 / 3)
    assert overlap(a, np.array([20.0, 0, 10, 10])) == 0


def ramp(height: int, width: int) -> np.ndarray:
    """Return an image whose red channel encodes the column and whose green channel the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 250 // width
    image[..., 1] = (np.arange(height) * 250 // height)[:, None]
    return image


def middle_of(image: np.ndarray, height: int, width: int) -> tuple[float, float]:
    return float(image[..., 0].mean()) * width / 250, float(image[..., 1].mean()) * height / 250


@pytest.mark.parametrize(
    ("box", "centre"),
    [
        ([130, 80, 60, 50], (160, 105)),  # inside: centred on the face
        ([0, 80, 60, 50], (45, 105)),  # at the edge: moved inside
        ([100, 20, 180, 180], (190, 120)),  # larger than the frame: its full height
    ],
)
def test_crop_is_a_square_inside_the_frame(box, centre):
    image = ramp(240, 320)
    out = crop(image, square(image.shape, np.array(box, float), margin=1.5))
    assert out.shape == (224, 224, 3)
    assert middle_of(out, 240, 320) == pytest.approx(centre, abs=2.5)


@pytest.mark.parametrize("side", [100, 300, 600])
def test_crop_keeps_the_mean_at_any_scale(side):
    image = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)
    out = crop(image, square(image.shape, np.array([20.0, 20, side, side]), margin=1.0))
    assert out.mean() == pytest.approx(image[20 : 20 + side, 20 : 20 + side].mean(), abs=3)
