"""Mouth crops of frames whose pixels say where in the mean face they are."""

import numpy as np
import pytest

from avdfd.features import mouth_crops as module
from avdfd.features.mouth_crops import mouth_crops
from avdfd.features.mouth_shape import PLACE, USED

EYES_AND_NOSE = [2, 33, 133, 362, 263]
MEAN_FACE = np.array([(128.87, 137.30), (92.52, 94.37), (112.77, 94.94), (145.53, 94.53), (166.68, 93.57)])
MOUTH = np.array([130.0, 158.0])


def recorded(turns: np.ndarray, shifts: np.ndarray, mouth: np.ndarray = MOUTH) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and landmarks of the mean face moved by z -> turn z + shift, from its pixels to those of a frame.

    The grey of a pixel is the x + y / 4 of the mean face there.
    """
    landmarks = np.zeros((len(turns), len(USED), 3), np.float32)
    frames = np.empty((len(turns), 224, 224, 3), np.uint8)
    y, x = np.mgrid[:224, :224]
    for place, frame, turn, shift in zip(landmarks, frames, turns, shifts, strict=True):
        points = np.tile(mouth, (len(USED), 1))
        points[[PLACE[landmark] for landmark in EYES_AND_NOSE]] = MEAN_FACE
        moved = turn * (points[:, 0] + 1j * points[:, 1]) + shift
        place[:, 0], place[:, 1] = moved.real + 0.5, moved.imag + 0.5
        back = (x + 1j * y - shift) / turn
        frame[:] = np.rint(np.clip(back.real + back.imag / 4, 0, 255))[..., None]
    return frames, landmarks


def expected(left: float, top: float) -> np.ndarray:
    y, x = np.mgrid[:96, :96]
    return left + x + (top + y) / 4


@pytest.mark.parametrize("seed", range(3))
def test_face_is_brought_to_the_mean_face_and_cut_around_the_mouth(seed):
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0.8, 0.9) * np.exp(1j * rng.uniform(-0.2, 0.2))
    shift = 105 + 105j - turn * (130 + 130j) + complex(*rng.uniform(-5, 5, 2))
    frames, landmarks = recorded(np.full(3, turn), np.full(3, shift))
    crops = mouth_crops(frames, landmarks)
    assert (crops.shape, crops.dtype) == ((3, 96, 96), np.uint8)
    assert np.abs(crops - expected(130 - 48, 158 - 48)).max() <= 2


def test_transform_is_that_of_the_mean_of_twelve_frames_and_the_crop_that_of_the_frame():
    """The face jumps by 12 pixels at frame 20: the smoothed points follow from frame 9 on, a pixel a frame."""
    shifts = np.where(np.arange(32) < 20, -20, -8) - 20j
    frames, landmarks = recorded(np.ones(32), shifts)
    found = mouth_crops(frames, landmarks)[:, 48, 48].astype(int)
    ahead = np.array([np.mean([shifts[min(j, 31)].real for j in range(k, k + 12)]) for k in range(21)])
    mouths = np.rint(130 + shifts[:21].real - ahead)  # in the frame turned to the mean face, in whole pixels
    seen = mouths - (shifts[:21].real - ahead)  # and which part of the mean face that is
    np.testing.assert_allclose(found[:21], np.repeat([expected(82, 110)[48, 48]], 21) + seen - 130, atol=1)
    np.testing.assert_allclose(found[21:], expected(82, 110)[48, 48], atol=1)
    np.testing.assert_array_equal(found[:9], found[0])


def test_few_frames_are_smoothed_together():
    frames, landmarks = recorded(np.ones(5), np.array([-22, -18, -22, -18, -20]) - 20j)
    smoothed = module._smoothed(landmarks[:, :, :2].astype(float))
    np.testing.assert_allclose(smoothed, np.repeat(landmarks[:, :, :2].mean(axis=0)[None], 5, axis=0), rtol=1e-6)
    assert mouth_crops(frames, landmarks).shape == (5, 96, 96)


def test_crop_stays_in_the_mean_face_and_what_is_outside_the_frame_is_black():
    frames, landmarks = recorded(np.ones(1), np.array([-60 - 20j]), mouth=np.array([20.0, 250.0]))
    crop = mouth_crops(frames, landmarks)[0]
    assert (crop[:, :60] == 0).all(), "left of the frame"
    inside = expected(0, 160)[:84, 61:]
    assert np.abs(crop[:84, 61:] - inside).max() <= 2
    assert (crop[86:] == 0).all(), "the frame ends at 244 of 256"
