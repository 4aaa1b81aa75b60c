"""AP and AR of localisation: hand-computed cases, and a naive implementation."""

import numpy as np
import pytest

from avdfd.metrics.localisation import AP_IOUS, AR_COUNTS, AR_IOUS, Proposals, curve, iou, match, measures, propose

NONE = np.empty((0, 2))


def proposals(*rows):
    """Rows of score, start, end, in the order of scores."""
    values = np.array(sorted(rows, reverse=True), float).reshape(-1, 3)
    return Proposals(values[:, 1:], values[:, 0])


def of(found, truth, weights=None):
    return measures(match(found, [np.array(periods, float).reshape(-1, 2) for periods in truth]), weights)


def test_iou():
    segments, periods = np.array([[0, 2], [1, 1], [5, 6]]), np.array([[1, 3], [1, 1], [0, 2]])
    np.testing.assert_allclose(iou(segments, periods), [[1 / 3, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert iou(NONE, periods).shape == (0, 3)
    assert iou(segments, NONE).shape == (3, 0)


def test_one_period_found_first_second_or_never():
    assert of([proposals((0.9, 1, 2))], [[[1, 2]]]) == {f"ap_{i:g}": 1 for i in AP_IOUS} | {
        "ar_50": 1,
        "ar_20": 1,
        "ar_10": 1,
    }
    second = of([proposals((0.9, 5, 6), (0.8, 1, 2))], [[[1, 2]]])
    assert (second["ap_0.5"], second["ar_10"]) == (0.5, 1)
    never = of([proposals((0.9, 5, 6))], [[[1, 2]]])
    assert set(never.values()) == {0}


def test_a_false_proposal_in_a_real_clip_counts():
    truth = [[[1, 2]], []]
    assert of([proposals((0.8, 1, 2)), proposals((0.9, 1, 2))], truth)["ap_0.5"] == 0.5
    assert of([proposals((0.8, 1, 2)), proposals((0.7, 1, 2))], truth)["ap_0.5"] == 1
    assert of([proposals((0.8, 1, 2)), proposals()], truth)["ap_0.5"] == 1


def test_a_period_is_found_once_and_iou_has_to_exceed_the_threshold():
    twice = of([proposals((0.9, 1, 2), (0.8, 1, 2), (0.7, 5, 6))], [[[1, 2], [5, 6]]])
    assert twice["ap_0.5"] == pytest.approx((1 + 2 / 3) / 2)
    assert of([proposals((0.9, 1, 3))], [[[1, 2]]])["ap_0.5"] == 0  # IoU exactly 0.5
    near = of([proposals((0.9, 1, 2))], [[[1, 2.25]]])  # IoU 0.8
    assert [near[f"ap_{i:g}"] for i in AP_IOUS] == [1, 1, 0]
    assert near["ar_10"] == pytest.approx(0.6)  # 0.5, 0.55 ... 0.75


def test_only_the_best_proposals_count_for_recall():
    rows = [(1 - number / 100, 10 + number, 11 + number) for number in range(15)] + [(0.5, 1, 2)]
    values = of([proposals(*rows)], [[[1, 2]]])
    assert [values[f"ar_{count}"] for count in AR_COUNTS] == [1, 1, 0]
    assert set(of([proposals(), proposals()], [[[1, 2]], []]).values()) == {0}


def naive(found, truth):
    """AP and AR by loops."""
    values = {}
    total = sum(len(periods) for periods in truth)

    def overlap(segment, period):
        inside = max(0.0, min(segment[1], period[1]) - max(segment[0], period[0]))
        return inside / (segment[1] - segment[0] + period[1] - period[0] - inside)

    for threshold in AP_IOUS:
        rows = []
        for one, periods in zip(found, truth, strict=True):
            true = set()
            for period in periods:
                for number, segment in enumerate(one.segments):
                    if number not in true and overlap(segment, period) > threshold:
                        true.add(number)
                        break
            rows += [(score, number in true) for number, score in enumerate(one.scores)]
        rows.sort(key=lambda row: -row[0])
        precision = [sum(hit for _, hit in rows[: n + 1]) / (n + 1) for n in range(len(rows))]
        values[f"ap_{threshold:g}"] = sum(max(precision[n:]) for n, (_, hit) in enumerate(rows) if hit) / total
    for count in AR_COUNTS:
        recall = [
            sum(
                any(overlap(segment, period) > threshold for segment in one.segments[:count])
                for one, periods in zip(found, truth, strict=True)
                for period in periods
            )
            / total
            for threshold in AR_IOUS
        ]
        values[f"ar_{count}"] = np.mean(recall)
    return values


def random_case(rng):
    truth = [np.sort(rng.random((rng.integers(0, 4), 2)) * 10, axis=1) for _ in range(6)]
    truth[0] = np.array([[1.0, 2.0]])
    found = []
    for periods in truth:
        near = [(rng.random(), *np.sort(period + rng.normal(0, 0.3, 2))) for period in periods for _ in range(9)]
        far = [(rng.random(), *np.sort(rng.random(2) * 10)) for _ in range(rng.integers(0, 40))]
        found.append(proposals(*near, *far))
    return found, truth


@pytest.mark.parametrize("seed", range(5))
def test_as_in_loops(seed):
    found, truth = random_case(np.random.default_rng(seed))
    assert of(found, truth) == pytest.approx(naive(found, truth))


def test_weights_choose_clips():
    found, truth = random_case(np.random.default_rng(9))
    weights = np.array([[1, 1, 1, 1, 1, 1], [3, 3, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0]], float)
    values = of(found, truth, weights)
    for row in (0, 1):
        assert {name: column[row] for name, column in values.items()} == pytest.approx(of(found, truth))
    chosen = [0, 2, 5]
    only = of([found[i] for i in chosen], [truth[i] for i in chosen])
    mask = np.isin(np.arange(6), chosen).astype(float)[None]
    assert {name: column[0] for name, column in of(found, truth, mask).items()} == pytest.approx(only)
    assert all(column[2] == 0 for column in values.values())


def test_curve_is_the_mean_of_overlapping_windows():
    made = curve(np.array([1.0, 0.0, 9.0]), np.array([3.0, 2.0, 10.0]), np.array([[1.0, 0.0], [0.5, 0.25], [1.0, 1.0]]))
    rows = [*zip(made.start.tolist(), made.end.tolist(), made.score.tolist(), strict=True)]
    assert rows == [(0, 1, 0.5), (1, 2, 0.625), (2, 3, 0), (9, 9.5, 1), (9.5, 10, 1)]


def test_proposals_are_the_stretches_above_each_level():
    made = curve(np.arange(6.0), np.arange(1.0, 7.0), np.array([[0.1], [0.9], [0.1], [0.5], [0.7], [0.1]]))
    found = propose(made)
    rows = [(*segment, score) for segment, score in zip(found.segments.tolist(), found.scores.tolist(), strict=True)]
    assert rows == [(1, 2, 0.9), (4, 5, 0.7), (3, 5, pytest.approx(0.6)), (0, 6, pytest.approx(0.4))]


def test_proposals_do_not_cross_gaps_and_are_at_most_100():
    made = curve(np.array([0.0, 5.0]), np.array([1.0, 6.0]), np.ones((2, 1)))
    assert propose(made).segments.tolist() == [[0, 1], [5, 6]]
    many = curve(np.arange(300.0), np.arange(1.0, 301.0), np.random.default_rng(0).random((300, 1)))
    found = propose(many)
    assert len(found.scores) == 100
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[0] == many.score.max()
    overlaps = iou(found.segments, found.segments)
    assert overlaps[~np.eye(100, dtype=bool)].max() <= 0.7
