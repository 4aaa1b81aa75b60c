"""Values that are read from the columns of scored windows."""

import numpy as np
import pytest

from avdfd.inference.columns import at, best_lag


def test_the_lag_is_that_of_the_highest_correlation():
    agreement = np.zeros((3, 31))
    agreement[[0, 1, 2], [15, 18, 5]] = 1
    assert best_lag(agreement).tolist() == [0, 120, -400]


def test_a_moment_is_the_mean_of_the_windows_that_show_it():
    values = np.arange(8.0).reshape(2, 4)
    starts = [0.0, 1.536]
    assert at(starts, values, 0.1) == 0
    assert at(starts, values, 1.6) == pytest.approx((2 + 4) / 2)
    assert at(starts, values, 4.6) == 7
    assert at(starts, values, 4.7) is None
    assert at(starts, values, -0.1) is None
