import numpy as np
import pytest

from avdfd.metrics import roc
from avdfd.metrics.selective import ALLOWED, Band, fit_band, select


def overlapping(count=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return labels, 1 / (1 + np.exp(-rng.normal(2 * labels - 1, 1.5)))


@pytest.mark.parametrize("allowed", ALLOWED)
def test_the_band_is_the_narrowest_with_few_errors(allowed):
    labels, scores = overlapping()
    band = fit_band(labels, scores, allowed)
    found = select(labels, scores, band)
    assert max(found.false_alarms, found.misses) <= allowed
    # Every score that could begin or end a narrower band makes too many errors.
    if band.low < band.high:
        inside = np.sort(scores[(scores >= band.low) & (scores < band.high)])
        assert select(labels, scores, Band(band.low, inside[-1])).false_alarms > allowed
        assert select(labels, scores, Band(np.nextafter(inside[0], 1), band.high)).misses > allowed


def test_coverage_and_errors_are_shares_of_their_class():
    labels, scores = [0, 0, 0, 0, 1, 1], [0.1, 0.5, 0.9, 0.2, 0.3, 0.8]
    found = select(labels, scores, Band(0.4, 0.6))
    assert found == (5 / 6, 1 / 4, 1 / 2)


def test_classes_that_one_threshold_separates_leave_nothing_open():
    labels, scores = [0] * 5 + [1] * 5, np.linspace(0.1, 0.9, 10)
    band = fit_band(labels, scores)
    assert band.low == band.high
    assert scores[4] < band.low <= scores[5]
    assert select(labels, scores, band) == (1, 0, 0)


def test_the_threshold_of_equal_errors_is_taken_if_it_makes_few_enough():
    labels, scores = overlapping(2000)
    band = fit_band(labels, scores, 0.45)
    assert band.low == band.high == pytest.approx(roc.eer_threshold(labels, scores))


def test_few_clips_allow_no_error():
    band = fit_band([0, 0, 1, 1], [0.2, 0.7, 0.4, 0.9], 0.05)
    assert band == (0.4, np.nextafter(0.7, 1))
    one_of_twenty = fit_band([0] * 20 + [1] * 20, [0.2] * 19 + [0.7] + [0.6] * 20)
    assert 0.2 < one_of_twenty.low == one_of_twenty.high <= 0.6, "0.05 of 20 is one error"


@pytest.mark.parametrize(("score", "called"), [(0.1, "real"), (0.4, "uncertain"), (0.59, "uncertain"), (0.6, "fake")])
def test_scores_of_the_band_are_uncertain(score, called):
    assert Band(0.4, 0.6).call(score) == called
