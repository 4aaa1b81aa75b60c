"""Swaps pair clips of one group that share no identity."""

import numpy as np

from avdfd.evaluation.counterfactuals.strangers import swaps


def identity_sets(*names):
    return [frozenset(name.split("+")) for name in names]


def test_pairs_are_of_one_group_and_of_different_identities():
    groups = ["a", "a", "b", "a", "b", "a", "a"]
    identities = identity_sets("1", "1", "2", "3", "4", "3+5", "5")
    for seed in range(50):
        pairs = swaps(groups, identities, np.random.default_rng(seed))
        used = [clip for pair in pairs for clip in pair]
        assert len(set(used)) == len(used)
        assert {2, 4} <= set(used)
        for one, other in pairs:
            assert groups[one] == groups[other]
            assert not identities[one] & identities[other]


def test_draws_differ_and_leave_out_other_clips():
    groups, identities = ["a"] * 5, identity_sets(*"12345")
    draws = [swaps(groups, identities, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(pairs) == 2 for pairs in draws)
    assert {clip for pairs in draws for pair in pairs for clip in pair} == set(range(5))
    assert draws[0] == swaps(groups, identities, np.random.default_rng(0))


def test_one_identity_has_no_stranger():
    assert swaps(["a", "a", "b"], identity_sets("1", "1", "2"), np.random.default_rng(0)) == []
    assert swaps([], [], np.random.default_rng(0)) == []
