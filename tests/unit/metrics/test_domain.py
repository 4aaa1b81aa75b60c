"""Distances from a training set, their limit from calibration clips, and branches together."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from avdfd.metrics import domain


def drawn(seed, count=300, width=12):
    """Return features of two classes with correlated noise, and their classes."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(width, width))
    classes = np.arange(count) % 2
    return rng.normal(size=(count, width)) @ mix + 5.0 * classes[:, None], classes


@pytest.mark.parametrize(("count", "width"), [(20, 40), (200, 10)])
def test_covariance_is_shrunk_as_by_scikit_learn(count, width):
    rest = np.random.default_rng(0).normal(size=(count, width)) * np.linspace(1, 3, width)
    rest -= rest.mean(axis=0)
    expected, share = ledoit_wolf(rest, assume_centered=True)
    assert 0 < share < 1
    np.testing.assert_allclose(domain.shrunk_covariance(rest), expected, atol=1e-10)


def test_distance_is_that_of_mahalanobis_from_the_nearest_class():
    features, classes = drawn(0, count=40_000, width=4)
    reference = domain.fit(features, classes)
    mix = np.random.default_rng(0).normal(size=(4, 4))
    inverse = np.linalg.inv(mix.T @ mix)
    for point in np.random.default_rng(1).normal(2, 4, (5, 4)):
        each = [np.sqrt((point - mean) @ inverse @ (point - mean) / 4) for mean in (np.zeros(4), 5 * np.ones(4))]
        assert domain.distances(reference, point[None])[0] == pytest.approx(min(each), rel=0.05)


def test_units_of_features_do_not_matter():
    (features, classes), (others, _) = drawn(0), drawn(1)
    units = np.geomspace(0.1, 10, 12)
    before = domain.distances(domain.fit(features, classes), others)
    after = domain.distances(domain.fit(features * units + 7, classes), others * units + 7)
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert before.mean() == pytest.approx(1, abs=0.15)


def test_a_feature_that_never_varies_in_training_is_no_division_by_zero():
    features, classes = drawn(0)
    features[:, 3] = 2.0
    reference = domain.fit(features, classes)
    near, far = features[:1].copy(), features[:1].copy()
    far[0, 3] = 3.0
    assert np.isfinite(domain.distances(reference, near)).all()
    assert domain.distances(reference, far)[0] > 5 * domain.distances(reference, near)[0]
    same = domain.fit(np.ones((5, 3)), np.zeros(5))
    assert domain.distances(same, np.ones((1, 3)))[0] == 0


def test_groups_that_are_left_out_are_judged_by_the_others():
    """Twenty groups, each at a place of its own: from within the reference they are near, from the others far."""
    rng = np.random.default_rng(2)
    groups, classes = np.repeat(np.arange(20), 30), np.zeros(600)
    features = rng.normal(size=(600, 4)) / 10 + np.eye(20, 4)[groups] * 3
    found = domain.distances_left_out(features, classes, groups, features, groups)
    for group in (0, 1, 19):  # two are left out at a time: 0 with 1, 18 with 19
        others = groups // 2 != group // 2
        expected = domain.distances(domain.fit(features[others], classes[others]), features[groups == group])
        np.testing.assert_allclose(found[groups == group], expected)
    within = domain.distances(domain.fit(features, classes), features)
    assert found[groups < 4].min() > within[groups < 4].max()
    again = domain.distances_left_out(features, classes, groups, features[31:32], [1])
    np.testing.assert_allclose(again, found[31:32])
    assert np.isnan(domain.distances_left_out(features, classes, groups, features[:1], ["unknown"])).all()


def test_limit_lets_the_allowed_share_pass():
    assert domain.limit(np.arange(1, 200)) == 198  # the second largest of 199: 2 / 200 exceed it
    assert domain.limit(np.arange(1, 100)) == 99
    assert domain.limit(np.arange(1, 10)) == 9, "of few clips, the largest"
    assert domain.percentile([1, 2, 3, 4], 3) == 50
    assert domain.percentile([1, 2, 3, 4], 9) == 100


def test_several_branches_do_not_flag_more_clips_than_one():
    """Without correction, three branches of independent distances would flag 3 % of clips in place of 1 %."""
    rng = np.random.default_rng(0)

    def draw(count):
        return {name: np.exp(rng.normal(0, spread, count)) for name, spread in (("a", 0.1), ("b", 0.2), ("c", 0.3))}

    flagged = []
    for _ in range(100):
        calibration = draw(599)  # of each branch, the limit is the second largest
        flagged.append((domain.combined(draw(1000), calibration) > 1).mean())
    assert np.mean(flagged) == pytest.approx(0.01, abs=0.002)
    calibration, clips = draw(399), draw(1000)
    alone = {"a": clips["a"]}
    assert (domain.combined(alone, calibration) > 1).mean() < 0.04
    far = {**clips, "b": clips["b"] + 10}
    assert (domain.combined(far, calibration) > 1).all()


def test_a_branch_with_a_long_tail_leaves_the_limits_of_others_alone():
    calibration = {"a": np.linspace(1, 2, 50), "b": np.append(np.linspace(1, 2, 49), 100)}
    found = {"a": np.array([1.9, 2.2, 1.0, 1.0]), "b": np.array([1.0, 1.0, 90.0, 110.0])}
    np.testing.assert_allclose(domain.combined(found, calibration), [0.95, 1.1, 0.9, 1.1])
