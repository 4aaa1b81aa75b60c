"""Calibration against scikit-learn, loops, and planted temperatures."""

import itertools

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from avdfd.metrics import calibration
from tests.unit.metrics.test_roc import CASES, random_clips


def calibrated(seed, clips, temperature=1.0, spread=2.0):
    """Labels drawn from the probabilities of random logits, and scores whose logits are those times a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, clips)
    return (rng.random(clips) < expit(logits)).astype(int), expit(logits * temperature)


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_equals_scikit_learn(labels, scores):
    values = calibration.proper_scores(labels, scores)
    assert values["brier"] == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    assert values["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-9)


def test_weights_are_repetitions():
    labels, scores = random_clips(0, 60, 4)
    weights = np.random.default_rng(1).integers(0, 4, (5, 60)).astype(float)
    values = calibration.proper_scores(labels, scores, weights)
    for row, counts in enumerate(weights.astype(int)):
        y, p = np.repeat(labels, counts), np.repeat(scores, counts)
        assert values["brier"][row] == pytest.approx(brier_score_loss(y, p))
        assert values["log_loss"][row] == pytest.approx(float(calibration.proper_scores(y, p)["log_loss"]))


def test_certain_and_wrong_has_a_large_finite_loss():
    values = calibration.proper_scores([0, 1], [1.0, 0.0])
    assert values["brier"] == 1
    assert 30 < values["log_loss"] < 40


@pytest.mark.parametrize(("clips", "levels"), [(200, None), (203, None), (300, 7), (50, 1), (4, None), (1, None)])
def test_ece_is_the_gap_in_bins_of_equal_mass(clips, levels):
    labels, scores = random_clips(1, max(clips, 2), levels)
    labels, scores = labels[:clips], scores[:clips]
    curve = calibration.reliability(labels, scores)
    assert curve.clips.sum() == clips
    if levels is None:
        assert len(curve.clips) == min(clips, 10)
        assert np.ptp(curve.clips) <= 1
    # Clips of one score are in one bin, and bins follow the scores.
    edges = np.split(np.sort(scores), np.cumsum(curve.clips)[:-1])
    assert all(a[-1] < b[0] for a, b in itertools.pairwise(edges))
    gaps = 0.0
    for part in edges:
        inside = np.isin(scores, part)
        gaps += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    assert curve.ece == pytest.approx(gaps, abs=1e-12)
    assert calibration.ece(labels, scores) == pytest.approx(gaps, abs=1e-12)


def test_order_of_the_clips_does_not_matter():
    labels, scores = random_clips(0, levels=5)
    shuffle = np.random.default_rng(0).permutation(len(labels))
    assert calibration.ece(labels, scores) == pytest.approx(calibration.ece(labels[shuffle], scores[shuffle]))


def test_reliability_separates_calibrated_from_other_scores():
    inside = []
    for seed in range(30):
        curve = calibration.reliability(*calibrated(seed, 400))
        inside.append(((curve.low <= curve.fakes) & (curve.fakes <= curve.high)).mean())
        assert curve.ece < 2.5 * curve.ece_by_chance
    assert 0.9 <= np.mean(inside) <= 1
    assert calibration.reliability(*calibrated(0, 2000, temperature=4)).ece > 0.1


def test_several_runs_on_the_same_clips_do_not_enlarge_the_sample():
    labels, scores = calibrated(0, 400)
    one = calibration.reliability(labels, scores)
    three = calibration.reliability(np.tile(labels, 3), np.tile(scores, 3), runs=3)
    assert three.ece == pytest.approx(one.ece)
    assert three.high - three.low == pytest.approx(one.high - one.low)


@pytest.mark.parametrize("planted", [0.25, 1.0, 3.0, 8.0])
def test_a_planted_temperature_is_found(planted):
    fitted = calibration.fit_temperature(*calibrated(0, 20_000, planted))
    assert fitted == pytest.approx(planted, rel=0.05)


def test_the_temperature_maximises_the_likelihood():
    labels, scores = calibrated(2, 150, 2.5)
    fitted = calibration.fit_temperature(labels, scores)
    assert fitted is not None

    def loss(temperature):
        return float(calibration.proper_scores(labels, calibration.at_temperature(scores, temperature))["log_loss"])

    assert all(loss(fitted) <= loss(fitted * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))
    assert loss(fitted) < loss(1)


def test_a_temperature_keeps_the_ranking_and_lowers_the_loss_of_overconfident_scores():
    labels, scores = calibrated(1, 500, 3)
    after = calibration.at_temperature(scores, 3)
    assert (np.argsort(after, kind="stable") == np.argsort(scores, kind="stable")).all()
    assert calibration.ece(labels, after) < calibration.ece(labels, scores)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        (
            [0, 0, 1, 1],
            [0.1, 0.4, 0.6, 0.9],
        ),  # separated without an error: the likelihood grows as the temperature falls
        ([0, 1], [0.9, 0.1]),  # wrong way round: the likelihood grows with the temperature
        ([0, 1], [0.5, 0.5]),
        ([1], [0.7]),
    ],
)
def test_there_may_be_no_best_temperature(labels, scores):
    assert calibration.fit_temperature(labels, scores) is None


def test_a_temperature_from_scores_of_0_and_1():
    assert calibration.fit_temperature([0, 0, 1, 1], [0.0, 1.0, 1.0, 1.0]) == pytest.approx(36.04 / np.log(3), rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([0, 1], [0.1, np.nan]), ([0, 1], [0.1, 1.1]), ([0, 1], [-0.1, 0.5]), ([0, 2], [0.1, 0.2]), ([], []),
     ([0, 1], [0.1]), ([[0, 1]], [[0.1, 0.2]])],
)  # fmt: skip
def test_refuses_invalid_labels_and_probabilities(labels, scores):
    for function in (
        calibration.proper_scores,
        calibration.ece,
        calibration.reliability,
        calibration.fit_temperature,
    ):
        with pytest.raises(ValueError, match=r"labels|scores"):
            function(labels, scores)
