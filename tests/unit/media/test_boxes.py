import numpy as np
import pytest

from avdfd.media.boxes import distance, middle, overlap, shared

A = np.array([0.0, 0, 10, 10])
OTHERS = np.array([[0.0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 10, 10], [2, 3, 4, 5]])


def test_area_in_common():
    assert shared(A, OTHERS).tolist() == [100, 50, 0, 20]


def test_overlap_is_intersection_over_union():
    assert overlap(A, OTHERS) == pytest.approx([1, 1 / 3, 0, 0.2])
    assert overlap(OTHERS[1], A) == pytest.approx(1 / 3)


def test_middle_and_distance():
    assert middle(OTHERS).tolist() == [[5, 5], [10, 5], [25, 5], [4, 5.5]]
    assert distance(A, OTHERS[1]) == 0.5
