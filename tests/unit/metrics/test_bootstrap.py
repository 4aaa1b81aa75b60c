"""Intervals against a loop that repeats clips, and their coverage."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from avdfd.metrics import bootstrap, roc
from tests.unit.metrics.test_roc import random_clips


def measured(labels, scores, groups, **changes):
    """Every metric of one or several runs."""
    runs = np.atleast_2d(scores)

    def statistic(weights, run):
        return roc.all_metrics(roc.roc(labels, runs[run], weights), {"balanced_accuracy": 0.5})

    return bootstrap.measure(statistic, labels, groups, runs=len(runs), **changes)


def areas(labels, scores):
    runs = np.atleast_2d(scores)
    return lambda weights, run: {"auc": roc.area(roc.roc(labels, runs[run], weights))}


def test_equals_a_loop_that_repeats_drawn_clips(monkeypatch):
    labels, scores = random_clips(3, 80, 8)
    groups = np.array([f"id{i % 9}" for i in range(80)])
    monkeypatch.setattr(bootstrap, "_CHUNK", 80 * 7)  # several chunks
    result = measured(labels, scores, groups, replicates=200, seed=5)

    rng = np.random.default_rng(5)
    names = np.unique(groups)
    loop = []
    for counts in rng.multinomial(9, np.full(9, 1 / 9), size=200):
        chosen = np.concatenate(
            [np.flatnonzero(groups == n) for n, c in zip(names, counts, strict=True) for _ in range(c)]
        )
        loop.append(
            (
                roc_auc_score(labels[chosen], scores[chosen]),
                balanced_accuracy_score(labels[chosen], scores[chosen] >= 0.5),
            )
        )
    low, high = np.quantile(loop, [0.025, 0.975], axis=0).T.tolist()
    assert result["auc_interval"] == pytest.approx(low)
    assert result["balanced_accuracy_interval"] == pytest.approx(high)
    assert result["auc"] == roc.auc(labels, scores)
    assert result["bootstrap_dropped"] == 0
    assert "auc_deviation" not in result


def test_without_labels_every_replicate_counts():
    values, identities = np.array([1.0, 2.0, 4.0, 9.0]), ["a", "a", "b", "b"]

    def statistic(weights, _):
        return {"mean": values.mean() if weights is None else weights @ values / weights.sum(axis=1)}

    result = bootstrap.measure(statistic, None, identities, replicates=200)
    assert result == {
        "mean": 4.0,
        "mean_interval": [1.5, 6.5],
        "bootstrap_dropped": 0,
    }  # draws that take one group twice


def test_replicates_with_one_class_are_counted():
    labels, scores = np.array([0, 1, 0, 1]), [0.1, 0.9, 0.6, 0.4]
    result = measured(labels, scores, ["a", "b", "a", "b"], replicates=400)
    assert 150 < result["bootstrap_dropped"] < 250  # both draws are the same identity half of the time
    assert result["auc_interval"] == [0.75, 0.75]


def test_single_group_and_no_replicates_give_no_interval():
    labels, scores = random_clips(0)
    assert measured(labels, scores, ["one"] * 200)["auc_interval"] is None
    assert measured(labels, scores, np.arange(200).astype(str), replicates=0)["eer_interval"] is None


def test_clips_of_one_identity_do_not_count_as_independent():
    labels, scores = random_clips(0, 40)
    groups = np.array([f"id{i}" for i in range(40)])
    apart = measured(labels, scores, groups)["auc_interval"]
    ten = (np.tile(x, 10) for x in (labels, scores, groups))
    assert measured(*ten)["auc_interval"] == pytest.approx(apart)


def test_interval_has_its_nominal_coverage():
    """Fakes of some identities are easier than those of others, so clips of an identity are far from independent."""
    rng = np.random.default_rng(0)
    labels, groups = np.tile([0, 0, 0, 1, 1, 1], 40), np.repeat(np.arange(40), 6)
    truth = norm.cdf(2 / np.sqrt(1.5**2 + 2 * 0.5))  # fake minus real of another identity: N(2, 1.5^2 + 2 * 0.5)
    covered = as_independent = 0
    for trial in range(200):
        easier = np.repeat(rng.normal(0, 1.5, 40), 6)
        scores = labels * (2 + easier) + rng.normal(0, np.sqrt(0.5), len(labels))
        for clusters in (groups, np.arange(len(labels))):
            result = bootstrap.measure(areas(labels, scores), labels, clusters, replicates=200, seed=trial)
            low, high = result["auc_interval"]
            if clusters is groups:
                covered += low <= truth <= high
            else:
                as_independent += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.98
    assert as_independent / 200 < 0.85


def test_runs_are_pooled_as_means():
    labels, one = random_clips(0, 120)
    two, three = random_clips(1, 120)[1], np.roll(one, 1)
    groups = np.arange(120) % 30
    result = measured(labels, [one, two, three], groups, replicates=50)
    each = [roc.auc(labels, scores) for scores in (one, two, three)]
    assert result["auc"] == pytest.approx(np.mean(each))
    assert result["auc_deviation"] == pytest.approx(np.std(each, ddof=1))


def test_equal_runs_add_nothing_to_the_interval():
    labels, scores = random_clips(0, 120)
    groups = np.arange(120) % 30
    alone, thrice = (measured(labels, s, groups, seed=3) for s in (scores, [scores] * 3))
    assert thrice["auc_interval"] == pytest.approx(alone["auc_interval"])
    assert thrice["auc_deviation"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_run_weights_have_the_variance_of_a_mean_of_runs(runs):
    weights = bootstrap.run_weightings(runs, 40_000, (0, 0))
    assert weights.sum(axis=1) == pytest.approx(1)
    values = np.random.default_rng(1).normal(size=runs)
    assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / runs, rel=0.04)


def test_interval_of_several_runs_covers_the_mean_over_runs():
    """The variance between runs is as large as that between identities."""
    rng = np.random.default_rng(0)
    covered = only_identities = 0
    labels, groups = np.tile([0, 0, 1, 1], 40), np.repeat(np.arange(40), 4)
    trials = 150
    learned = np.random.default_rng(1).normal(1.5, 0.3, 4000)
    truth = norm.cdf(learned / np.sqrt(2)).mean()
    for trial in range(trials):
        better = rng.normal(1.5, 0.3, (6, 1))
        scores = labels * better + rng.normal(
            0, 1, (1, len(labels))
        )  # the same noise: difficult clips are difficult for every run
        several = bootstrap.measure(areas(labels, scores), labels, groups, runs=6, replicates=200, seed=trial)
        low, high = several["auc_interval"]
        covered += low <= truth <= high
        single = bootstrap.measure(areas(labels, scores[:1]), labels, groups, replicates=200, seed=trial)
        low, high = single["auc_interval"]
        only_identities += low <= truth <= high
    assert 0.88 <= covered / trials <= 0.99
    assert only_identities < covered - 10
