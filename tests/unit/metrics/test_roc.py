"""Metrics against scikit-learn, against loops that follow the definition, and in edge cases."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve

from avdfd.metrics import roc


def random_clips(seed: int, clips: int = 200, levels: int | None = None):
    """Labels and overlapping scores; `levels` rounds the scores so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, clips)
    labels[:2] = 0, 1
    scores = 1 / (1 + np.exp(-rng.normal(labels, 1.5)))
    return labels, scores if levels is None else np.round(scores * levels) / levels


CASES = [pytest.param(*random_clips(s, n, lv), id=f"{n}-{lv}") for s, n, lv in
         [(0, 200, None), (1, 200, 10), (2, 300, 2), (3, 7, None), (4, 2, None), (5, 50, 1)]]  # fmt: skip


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_equals_scikit_learn(labels, scores):
    assert roc.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert roc.average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    for threshold in (0.3, 0.5, 0.9):
        expected = balanced_accuracy_score(labels, scores >= threshold)
        assert roc.balanced_accuracy(labels, scores, threshold) == pytest.approx(expected, abs=1e-12)
        called = np.asarray(scores) >= threshold
        errors = roc.errors_at(roc.roc(labels, scores), threshold)
        assert errors == pytest.approx((called[labels == 0].mean(), 1 - called[labels == 1].mean()))


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_eer_is_the_crossing_of_the_roc_curve(labels, scores):
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    low, high, point = 0.0, len(fpr) - 1.0, np.arange(len(fpr))
    for _ in range(60):  # bisection along the curve
        middle = (low + high) / 2
        more_misses = 1 - np.interp(middle, point, tpr) > np.interp(middle, point, fpr)
        low, high = (middle, high) if more_misses else (low, middle)
    assert roc.eer(labels, scores) == pytest.approx(np.interp(high, point, fpr), abs=1e-9)
    # By the definition without interpolation, no threshold has both error rates below the EER.
    rates = [max((scores[labels == 0] >= t).mean(), (scores[labels == 1] < t).mean()) for t in np.append(scores, 2)]
    assert roc.eer(labels, scores) <= min(rates) + 1e-12


@pytest.mark.parametrize(("labels", "scores"), CASES)
@pytest.mark.parametrize("limit", [0.0, 0.01, 0.1, 1.0])
def test_tpr_at_fpr_is_the_best_threshold_within_the_limit(labels, scores, limit):
    allowed = [t for t in np.append(scores, 2) if (scores[labels == 0] >= t).mean() <= limit]
    expected = (scores[labels == 1] >= min(allowed)).mean()
    assert roc.tpr_at_fpr(labels, scores, limit) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("labels", "scores"), CASES)
def test_min_dcf_is_the_cheapest_threshold(labels, scores):
    def cost(threshold):
        misses, alarms = (scores[labels == 1] < threshold).mean(), (scores[labels == 0] >= threshold).mean()
        return 0.05 * 10 * misses + 0.95 * 1 * alarms

    # The better of calling all fake (0.95) and all real (0.5) costs 0.5.
    expected = min(cost(t) for t in np.append(scores, 2)) / 0.5
    assert roc.min_dcf(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert 0 <= roc.min_dcf(labels, scores) <= 1


def test_low_false_alarm_rates_need_many_reals():
    labels = np.repeat([0, 1], 1000)
    scores = np.concatenate([np.arange(1000), np.full(1000, 998.5)]) / 1000  # one real scores higher than every fake
    values = roc.all_metrics(roc.roc(labels, scores), {})
    assert (values["tpr_at_1_fpr"], values["tpr_at_0_1_fpr"]) == (1, 1)
    scores[998] = 0.9999  # a second one
    values = roc.all_metrics(roc.roc(labels, scores), {})
    assert (values["tpr_at_1_fpr"], values["tpr_at_0_1_fpr"]) == (1, 0)


def test_values_known_by_hand():
    labels, scores = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    assert roc.auc(labels, scores) == 0.75
    assert roc.average_precision(labels, scores) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert roc.eer(labels, scores) == 0.5
    assert roc.auc(labels, [0.1, 0.2, 0.8, 0.9]) == 1.0
    assert roc.eer(labels, [0.1, 0.2, 0.8, 0.9]) == 0.0
    assert roc.eer(labels, [0.9, 0.8, 0.2, 0.1]) == 1.0
    assert roc.auc(labels, [0.5] * 4) == 0.5
    assert roc.eer(labels, [0.5] * 4) == 0.5
    assert roc.average_precision(labels, [0.5] * 4) == 0.5


def test_order_of_the_clips_does_not_matter():
    labels, scores = random_clips(0, levels=5)
    shuffle = np.random.default_rng(0).permutation(len(labels))
    for metric in (roc.auc, roc.average_precision, roc.eer):
        assert metric(labels, scores) == metric(labels[shuffle], scores[shuffle])


def test_eer_threshold_balances_both_errors():
    assert roc.eer_threshold([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == pytest.approx(0.5)
    labels, scores = random_clips(0, 2000)
    threshold = roc.eer_threshold(labels, scores)
    false_alarms, misses = (scores[labels == 0] >= threshold).mean(), (scores[labels == 1] < threshold).mean()
    assert false_alarms == pytest.approx(misses, abs=2e-3)
    assert roc.eer_threshold([0, 1], [0.5, 0.5]) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([1, 1], [0.1, 0.2]), ([0, 0], [0.1, 0.2]), ([], []), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, np.nan]),
     ([0, 1], [0.1, np.inf]), ([0, 1], [0.1]), ([[0, 1]], [[0.1, 0.2]]), ([1], [0.5])],
)  # fmt: skip
def test_refuses_invalid_labels_and_scores(labels, scores):
    for metric in (roc.auc, roc.average_precision, roc.eer, roc.eer_threshold, roc.min_dcf):
        with pytest.raises(ValueError, match=r"labels|scores"):
            metric(labels, scores)


@pytest.mark.parametrize("levels", [None, 4])
def test_weights_are_repetitions(levels):
    labels, scores = random_clips(0, 60, levels)
    weights = np.random.default_rng(1).integers(0, 4, (5, 60))
    curve = roc.roc(labels, scores, weights)
    for row, counts in enumerate(weights):
        y, s = np.repeat(labels, counts), np.repeat(scores, counts)
        assert roc.area(curve)[row] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert roc._average_precision(curve)[row] == pytest.approx(average_precision_score(y, s), abs=1e-12)
        assert roc._eer(curve)[row] == pytest.approx(roc.eer(y, s), abs=1e-12)
        assert roc._tpr_at_fpr(curve, 0.1)[row] == pytest.approx(roc.tpr_at_fpr(y, s, 0.1), abs=1e-12)
        assert roc._balanced_accuracy(curve, 0.5)[row] == pytest.approx(balanced_accuracy_score(y, s >= 0.5))


def test_auc_within_compares_no_clips_of_different_groups():
    labels, scores = [0, 1, 1, 0, 1, 1, 0], [0.1, 0.2, 0.05, 5, 6, 9, 7]
    groups = ["a", "a", "a", "b", "b", "c", "d"]  # c and d are of one class
    assert roc.auc_within(labels, scores, groups) == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(roc.auc_within([0, 1], [0.1, 0.2], ["a", "b"]))
