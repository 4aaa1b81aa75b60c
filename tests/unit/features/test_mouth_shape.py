"""Mouth shape of a made-up face, of which it is known how head and lips moved."""

import numpy as np
import pytest

from avdfd.features.mouth_shape import LIPS, SHAPE, STABLE, USED
from avdfd.features.mouth_shape import mouth_shape as shape_of_used

FRAMES = 20


def mouth_shape(landmarks: np.ndarray) -> np.ndarray:
    """Return the mouth shape of all landmarks (T, 468, 3)."""
    return shape_of_used(landmarks[:, USED])


def face() -> np.ndarray:
    """Return a face (468, 3) whose outer corners of the eyes are 1 apart, level, and above the chin."""
    points = np.random.default_rng(0).uniform(-1, 1, (468, 3))
    points[[33, 263, 152]] = [[-0.5, 0, 0], [0.5, 0, 0], [0, 1.2, 0]]
    return points


def talking() -> np.ndarray:
    """Return landmarks (T, 468, 3) of a head at rest whose lips move."""
    points = np.repeat(face()[None], FRAMES, axis=0)
    points[:, LIPS] += 0.1 * np.random.default_rng(1).normal(size=(FRAMES, len(LIPS), 3))
    return points


def rotation(rng: np.random.Generator) -> np.ndarray:
    turned, _ = np.linalg.qr(np.eye(3) + 0.3 * rng.normal(size=(3, 3)))
    turned *= np.sign(np.diag(turned))
    return turned if np.linalg.det(turned) > 0 else turned[:, [1, 0, 2]]


def test_lips_and_stable_points_are_disjoint():
    assert len(set(LIPS)) == 40
    assert not set(LIPS) & set(STABLE)
    assert len(set(USED)) == len(USED) == 71


def test_shape_of_a_head_at_rest_is_that_of_its_lips():
    points = talking()
    shape = mouth_shape(points)
    assert shape.shape == (FRAMES, SHAPE)
    expected = points[:, LIPS] - face()[list(STABLE)].mean(axis=0)
    np.testing.assert_allclose(shape, expected.reshape(FRAMES, -1), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_head_pose_size_and_place_do_not_matter(seed):
    rng, points = np.random.default_rng(seed), talking()
    moved = np.stack([rng.uniform(50, 90) * p @ rotation(rng) + rng.uniform(0, 400, 3) for p in points])
    np.testing.assert_allclose(mouth_shape(moved), mouth_shape(points), atol=1e-4)


def test_a_mirrored_frame_is_not_mirrored_back():
    points = talking()
    shape = mouth_shape(points)
    points[3, :, 0] *= -1
    assert np.abs(mouth_shape(points)[3] - shape[3]).max() > 0.1
