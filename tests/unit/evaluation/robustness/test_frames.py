"""Every perturbation of frames has the effect of its name, and a larger one at a higher severity."""

import cv2
import numpy as np
import pytest

from avdfd.evaluation.robustness import PERTURBATIONS
from avdfd.evaluation.robustness import frames as frames_module
from avdfd.features.window import FRAMES

NAMES = [name for name, how in PERTURBATIONS.items() if how.frames is not None]


def rng():
    return np.random.default_rng(7)


def film(count: int = 9, side: int = 224) -> np.ndarray:
    """A moving disc with stripes, on a gradient."""
    rows, columns = np.mgrid[:side, :side]
    frames = []
    for number in range(count):
        inside = (rows - 100) ** 2 + (columns - 60 - 9 * number) ** 2 < 45**2
        stripes = 128 + 90 * np.sin(columns / 2.5)
        red = np.where(inside, stripes, 60 + columns * 0.5)
        frames.append(np.stack([red, np.where(inside, 70, rows * 0.6 + 40), np.full_like(red, 90)], axis=-1))
    return np.array(frames).astype(np.uint8)


def psnr(frames: np.ndarray, original: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(frames.astype(float) - original).mean(), 1e-9)))


def detail(frames: np.ndarray) -> float:
    return float(np.mean([cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F).std() for frame in frames]))


@pytest.mark.parametrize("name", NAMES)
def test_same_draw_shape_and_type_and_worse_with_severity(name):
    how, frames = PERTURBATIONS[name], film()
    before = frames.copy()
    perturbed = [how.frames(frames, level, rng()) for level in how.levels]
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(how.frames(frames, how.levels[-1], rng()), perturbed[-1])
    for one in perturbed:
        assert one.shape == frames.shape
        assert one.dtype == np.uint8
    qualities = [psnr(one, frames) for one in perturbed]
    assert qualities == sorted(qualities, reverse=True)
    assert qualities[0] > qualities[-1] + 3


@pytest.mark.parametrize("sigma", PERTURBATIONS["video_noise"].levels)
def test_noise_has_its_deviation(sigma):
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    noisy = frames_module.noise(grey, sigma, rng()).astype(float)
    assert noisy.std() == pytest.approx(sigma, rel=0.03)
    assert np.abs(noisy[0] - noisy[1]).mean() > sigma / 2  # every frame has its own


def test_blur_and_resize_take_detail_away():
    frames = film(2)
    for how in (PERTURBATIONS["blur"], PERTURBATIONS["resize"]):
        left = [detail(how.frames(frames, level, rng())) for level in how.levels]
        assert left == sorted(left, reverse=True)
        assert left[-1] < 0.5 * detail(frames)


@pytest.mark.parametrize("gain", PERTURBATIONS["brightness"].levels)
def test_brightness_is_a_factor(gain):
    frames = film(2)
    np.testing.assert_allclose(frames_module.brightness(frames, gain, rng()), frames * gain, atol=0.51)


def test_h264_keeps_the_order_of_all_frames():
    frames = film(FRAMES // 4)
    coded = frames_module.h264(frames, 33, rng())
    errors = np.array([[psnr(one, other) for other in frames] for one in coded])
    np.testing.assert_array_equal(errors.argmax(axis=1), np.arange(len(frames)))


def test_missing_video_is_black_at_the_end():
    frames = film(10)
    gone = frames_module.missing(frames, 60, rng())
    np.testing.assert_array_equal(gone[:4], frames[:4])
    assert not gone[4:].any()
    assert not frames_module.missing(frames, 100, rng()).any()
