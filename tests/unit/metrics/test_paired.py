"""Paired tests: their rate of false alarms, and that they find a real difference."""

import numpy as np
import pytest
from scipy.stats import norm

from avdfd.metrics import roc
from avdfd.metrics.paired import delong, p_value, paired_auc


def two_systems(rng, better=0.0, identities=40, runs=(1, 1)):
    """Labels, scores of two systems that find the same clips difficult, and the identities that cause it."""
    labels, groups = np.tile([0, 0, 1, 1], identities), np.repeat(np.arange(identities), 4)
    common = np.repeat(rng.normal(0, 0.7, identities), 4) + rng.normal(0, 0.7, len(labels))
    ours, theirs = (
        1.5 * labels + gain * labels + common + rng.normal(0, 0.7, (count, len(labels)))
        for count, gain in zip(runs, (better, 0), strict=True)
    )
    return labels, ours, theirs, groups


def test_difference_and_interval_equal_those_of_repeated_clips():
    labels, ours, theirs, groups = two_systems(np.random.default_rng(0), 0.3, identities=12)
    result = paired_auc(labels, ours, theirs, groups, replicates=300, seed=4)
    assert result["difference"] == pytest.approx(roc.auc(labels, ours[0]) - roc.auc(labels, theirs[0]))
    loop = []
    for counts in np.random.default_rng(4).multinomial(12, np.full(12, 1 / 12), size=300):
        chosen = np.repeat(np.arange(48), np.repeat(counts, 4))
        loop.append(roc.auc(labels[chosen], ours[0, chosen]) - roc.auc(labels[chosen], theirs[0, chosen]))
    assert result["interval"] == pytest.approx(np.quantile(loop, [0.025, 0.975]).tolist())


def test_false_alarms_without_a_difference():
    rng = np.random.default_rng(0)
    trials = 400
    found = {"p": 0, "delong_p": 0}
    outside = 0
    for trial in range(trials):
        result = paired_auc(*two_systems(rng), replicates=199, seed=trial)
        for name in found:
            found[name] += result[name] < 0.05
        outside += not result["interval"][0] <= 0 <= result["interval"][1]
    assert all(0.025 <= count / trials <= 0.085 for count in found.values())
    assert 0.025 <= outside / trials <= 0.085


def test_a_planted_difference_is_found_although_single_intervals_overlap():
    labels, ours, theirs, groups = two_systems(np.random.default_rng(1), 0.8, identities=60)
    result = paired_auc(labels, ours, theirs, groups)
    assert result["difference"] > 0
    assert result["p"] < 0.01
    assert result["delong_p"] < 0.01
    swapped = paired_auc(labels, theirs, ours, groups)
    assert swapped["difference"] == -result["difference"]
    assert swapped["p"] == pytest.approx(result["p"], abs=0.01)


def test_equal_systems_do_not_differ():
    labels, ours, _, groups = two_systems(np.random.default_rng(0))
    result = paired_auc(labels, ours, ours, groups)
    assert result == {"difference": 0, "interval": [0, 0], "p": 1, "delong_p": 1}


def test_one_identity_gives_no_interval():
    labels, ours, theirs, _ = two_systems(np.random.default_rng(0), identities=5)
    result = paired_auc(labels, ours, theirs, ["one"] * 20)
    assert (result["interval"], result["p"], result["delong_p"]) == (None, None, None)
    assert paired_auc(labels, ours, theirs, np.arange(20), replicates=0)["p"] is None


def test_several_runs_widen_the_interval_and_branches_of_a_run_are_paired():
    rng = np.random.default_rng(0)
    labels, _, theirs, groups = two_systems(rng)
    weak, strong = theirs - 0.5 * labels, theirs + 0.5 * labels
    apart = np.concatenate([weak, strong])
    pooled = paired_auc(labels, apart, theirs, groups)
    assert pooled["difference"] == pytest.approx(
        np.mean([roc.auc(labels, s) for s in apart]) - roc.auc(labels, theirs[0])
    )
    assert pooled["delong_p"] is None
    single = paired_auc(labels, theirs, theirs + rng.normal(0, 0.1, theirs.shape), groups)
    assert np.ptp(pooled["interval"]) > 3 * np.ptp(single["interval"])
    # Two branches of the same two runs are good or bad together, so their difference does not vary.
    together = paired_auc(labels, apart, apart, groups, same_runs=True)
    assert together["interval"] == [0, 0]
    assert np.ptp(paired_auc(labels, apart, apart, groups)["interval"]) > 0.05


@pytest.mark.parametrize("levels", [None, 3])
def test_delong_equals_a_loop(levels):
    labels, ours, theirs, _ = two_systems(np.random.default_rng(3), 0.2, identities=10)
    ours, theirs = (s[0] if levels is None else np.round(s[0] * levels) / levels for s in (ours, theirs))

    def parts(scores):
        above = lambda fake, real: float(fake > real) + 0.5 * float(fake == real)  # noqa: E731
        fakes, reals = scores[labels == 1], scores[labels == 0]
        table = np.array([[above(f, r) for r in reals] for f in fakes])
        return table.mean(axis=1), table.mean(axis=0)

    (fakes_a, reals_a), (fakes_b, reals_b) = parts(ours), parts(theirs)
    variance = (fakes_a - fakes_b).var(ddof=1) / len(fakes_a) + (reals_a - reals_b).var(ddof=1) / len(reals_a)
    z = (fakes_a.mean() - fakes_b.mean()) / np.sqrt(variance)
    assert delong(labels, ours, theirs, np.arange(len(labels))) == pytest.approx(2 * norm.sf(abs(z)))


def test_delong_gains_no_certainty_from_repeated_clips():
    labels, ours, theirs, groups = two_systems(np.random.default_rng(0), 0.3)
    copies = [np.tile(x, 5) for x in (labels, ours[0], theirs[0], groups)]
    assert delong(*copies) == pytest.approx(delong(labels, ours[0], theirs[0], groups))
    assert delong([0, 1, 1], [0.1, 0.9, 0.2], [0.3, 0.1, 0.5], [0, 1, 2]) is None


def test_p_is_never_zero():
    assert p_value(np.ones(99)) == pytest.approx(0.02)
    assert p_value(np.array([-1.0, 1.0])) == 1
    assert p_value(np.empty(0)) is None
