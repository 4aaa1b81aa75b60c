"""The square that is cut out follows the face: smoothly, without delay, and not over a cut."""

import numpy as np
import pytest

from avdfd.config import FaceConfig
from avdfd.media.face_paths import Face, faces_of, smoothed
from avdfd.media.faces import FaceTracker
from tests.helpers.heads import FPS, SIZE, Place, frames, scene

CONFIG = FaceConfig()


def faces_in(images, config: FaceConfig = CONFIG) -> list[Face]:
    tracker = FaceTracker(config)
    for _ in tracker.watch(frames(images)):
        pass
    tracker.finish()
    return faces_of(tracker.shots, SIZE, config)


def squares_of(face: Face, count: int) -> np.ndarray:
    return face.at(times(0, count)).squares


def times(first: int, last: int) -> np.ndarray:
    return np.arange(first, last) / FPS


def test_smoothing_keeps_steady_motion_up_to_its_ends_and_removes_jitter():
    steady = np.linspace(3, 70, 60)
    assert smoothed(steady) == pytest.approx(steady)
    assert smoothed(np.full((9, 2), 5.0)) == pytest.approx(np.full((9, 2), 5.0))
    assert smoothed(np.array([4.0])) == smoothed(np.array([4.0, 4.0]))[0] == 4.0
    jitter = np.random.default_rng(0).normal(0, 1, 500)
    assert smoothed(steady.repeat(1)[:60] + jitter[:60]) == pytest.approx(steady, abs=1)
    assert smoothed(jitter).std() < 0.3
    step = np.repeat([0.0, 10.0], 50)
    assert smoothed(step) + smoothed(step)[::-1] == pytest.approx(10), "as early as late"


def test_crop_follows_a_moving_face():
    count = 100
    [face] = faces_in([scene([Place(90 + 3 * n, 130, 150)]) for n in range(count)])
    squares = squares_of(face, count)
    centres = squares[:, 0] + squares[:, 2] / 2
    assert centres - 90 - 3 * np.arange(count) == pytest.approx(0, abs=4)
    assert np.abs(np.diff(centres, n=2)).max() <= 1.5, "rounding to whole pixels"
    assert np.ptp(squares[:, 2]) <= 3
    assert np.ptp(squares[:, 1]) <= 3
    assert face.at(times(0, count)).inside.mean() == 1


def test_crop_of_a_face_that_keeps_still_keeps_still():
    noise = np.random.default_rng(0)
    image = scene([Place(240, 130)]).astype(float)
    images = [np.clip(image + noise.normal(0, 12, image.shape), 0, 255).astype(np.uint8) for _ in range(75)]
    [face] = faces_in(images)
    assert (np.ptp(squares_of(face, 75), axis=0) <= 1).all()


def test_face_is_in_the_middle_of_its_square_with_the_margin():
    [face] = faces_in([scene([Place(240, 130)])] * 10)
    left, top, side = face.square(0.2)
    box = face.at(np.array([0.2])).boxes[0]
    assert side == pytest.approx(1.5 * 0.92 * box[2:].max(), abs=1)
    assert (left + side / 2, top + side / 2) == pytest.approx(tuple(box[:2] + box[2:] / 2), abs=1)
    assert face.box(0.2) == tuple(np.round(box))


@pytest.mark.parametrize("there", [Place(360, 130, 150, seed=5), Place(150, 125, 190, seed=5)])
def test_nothing_is_smoothed_over_a_cut(there):
    here, cut = Place(120, 130), 40
    faces = faces_in([scene([here], grey=40)] * cut + [scene([there], grey=170)] * cut)
    same_place = there.x < 200
    assert len(faces) == (1 if same_place else 2)
    squares = [squares_of(face, 2 * cut) for face in faces]
    before = squares[0 if same_place or faces[0].box(0)[0] < 200 else 1][:cut]
    after = squares[0 if same_place or faces[0].box(3)[0] > 200 else 1][cut:]
    for part, place in ((before, here), (after, there)):
        assert (np.ptp(part, axis=0) <= 1).all()
        assert part[:, 0] + part[:, 2] / 2 == pytest.approx(place.x, abs=6)
    if same_place:
        assert faces[0].at(times(0, 2 * cut)).inside.mean() == 1
    else:
        assert sorted(face.at(times(0, 2 * cut)).inside.mean() for face in faces) == [0.5, 0.5]


def test_face_that_leaves_is_not_inside_afterwards():
    images = [scene([Place(240 + max(0, n - 40) * 9, 130)]) for n in range(100)]
    faces = faces_in(images)
    assert faces[0].at(times(0, 40)).inside.mean() == 1
    assert max(face.at(times(75, 100)).inside.mean() for face in faces) == 0


def test_short_gaps_are_filled_and_long_ones_are_not():
    head, nobody = scene([Place(240, 130)]), scene([])
    [face] = faces_in([head] * 20 + [nobody] * 8 + [head] * 22)
    assert face.at(times(0, 50)).inside.mean() == 1
    [face] = faces_in([head] * 20 + [nobody] * 30 + [head] * 20)
    assert face.at(times(24, 46)).inside.mean() == 0
    assert face.at(times(0, 15)).inside.mean() == face.at(times(55, 70)).inside.mean() == 1
    assert face.at(times(0, 70)).inside.mean() == pytest.approx(40 / 70, abs=0.1)


def test_large_faces_come_first():
    first, second = faces_in([scene([Place(110, 130, 110, seed=5), Place(340, 130, 180)])] * 20)
    assert first.weight > 2 * second.weight
    assert first.box(0)[0] > second.box(0)[0]


def test_face_larger_than_the_frame_has_the_largest_square():
    [face] = faces_in([scene([Place(240, 130, 400)])] * 10)
    assert face.square(0.2).side == min(SIZE)
    assert face.at(times(0, 10)).inside.mean() == 1


def test_mouth_opens_with_the_head():
    openings = [0.1] * 25 + [0.9] * 25
    places = [[Place(120, 130, opening=opening), Place(350, 130, seed=5)] for opening in openings]
    faces = sorted(faces_in([scene(place) for place in places]), key=lambda face: face.box(0)[0])
    gaps = [face.at(times(0, 50)).mouths[:, 0] for face in faces]
    assert gaps[0][30:].min() > gaps[0][:20].max() + 0.1
    assert np.ptp(gaps[1]) < 0.1
