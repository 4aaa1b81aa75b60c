"""Pooling of windows to clips."""

import numpy as np
import pytest

from avdfd.evaluation.pooling import per_window, pool, stack
from avdfd.inference.scoring import Scores
from avdfd.metrics.pooling import parse_rule
from tests.unit.elements import meta

METAS = [
    meta("id2", "RVRA", race="African", gender="women"),
    meta("id1", "RVFA", 0, 0, method="tts"),
    meta("id1", "RVFA", 0, 1, method="tts"),
    meta("id1", "RVFA", 1, identities=("id1", "id9")),
    meta("id1", "RVFA", 0, 2, method="tts"),
]
KEYS = [m.key for m in METAS]


def scores(**branches):
    return Scores(
        KEYS,
        {name: np.array(values) for name, values in branches.items()},
        weights={"audio": np.array([0.5, 0.1, 0.3, 0.5, 0.5])},
        discrepancy=np.arange(40.0).reshape(5, 8),
    )


def test_clips_have_the_means_of_their_windows():
    clips = pool(METAS, scores(audio=[0.1, 0.2, 0.6, 0.9, 0.4], fused=[0.0, 0.5, 1.0, 0.5, 0.0]))
    assert clips.source.tolist() == [METAS[0].source, METAS[1].source, METAS[3].source]  # as they come first
    assert clips.tier.tolist() == ["RVRA", "RVFA", "RVFA"]
    assert clips.label.tolist() == [0, 1, 1]
    assert clips.identity.tolist() == ["id2", "id1", "id1"]
    assert clips.method.tolist() == ["", "tts", ""]
    assert (clips.facts["race"].tolist(), clips.facts["gender"].tolist()) == (
        ["African", "Asian", "Asian"],
        ["women", "men", "men"],
    )
    assert clips.windows.tolist() == [1, 3, 1]
    assert clips.scores["audio"] == pytest.approx(np.array([[0.1, 0.4, 0.9]]))
    assert clips.scores["fused"] == pytest.approx(np.array([[0, 0.5, 0.5]]))
    assert clips.weights["audio"] == pytest.approx(np.array([0.5, 0.3, 0.5]))
    assert clips.discrepancy == pytest.approx(np.array([3.5, (11.5 + 19.5 + 35.5) / 3, 27.5]))


def test_short_clips_are_marked():
    metas = [meta("id1", "RVRA"), meta("id2", "RVFA", end=3.04), meta("id3", "RVFA", start=4.0, end=4.0 + 3.072)]
    clips = pool(metas, Scores([], {"audio": np.zeros(3)}))
    assert clips.short.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", 0.4), ("max", 0.6), ("top1", 0.6), ("top2", 0.5), ("top3", 0.4), ("top9", 0.4)],
)
def test_rules(rule, expected):
    clips = pool(METAS, scores(audio=[0.1, 0.2, 0.6, 0.9, 0.4]), rule)
    assert clips.scores["audio"] == pytest.approx(np.array([[0.1, expected, 0.9]]))
    assert clips.weights["audio"][1] == pytest.approx(0.3)  # what explains a score is a mean under any rule


@pytest.mark.parametrize("rule", ["mean", "max", "top2", "top7"])
def test_rules_as_in_a_loop(rule):
    rng = np.random.default_rng(0)
    metas = [meta(f"id{i}", "RVFA", 0, w) for i in range(30) for w in range(int(rng.integers(1, 6)))]
    metas = [metas[i] for i in rng.permutation(len(metas))]
    values = rng.integers(0, 5, (2, len(metas))) / 4
    clips = pool(metas, Scores([], {"audio": values}), rule)
    for run in range(2):
        for source, score in zip(clips.source, clips.scores["audio"][run], strict=True):
            own = sorted((v for m, v in zip(metas, values[run], strict=True) if m.source == source), reverse=True)
            most = {"mean": len(own), "max": 1, "top2": 2, "top7": 7}[rule]
            assert score == pytest.approx(np.mean(own[:most]))


@pytest.mark.parametrize("text", ["", "median", "top", "top0", "top-1", "top1.5", "Mean"])
def test_no_other_rules(text):
    with pytest.raises(ValueError, match="is not mean, max or top and a number"):
        parse_rule(text)


def test_windows_by_themselves():
    windows = per_window(METAS, scores(audio=[0.1, 0.2, 0.6, 0.9, 0.4]))
    assert len(windows) == 5
    assert windows.scores["audio"].tolist() == [[0.1, 0.2, 0.6, 0.9, 0.4]]
    assert windows.label.tolist() == [0, 1, 1, 1, 1]

    assert windows.windows.tolist() == [1] * 5
    assert windows.identity.tolist() == ["id2", "id1", "id1", "id1", "id1"]


def test_a_window_of_a_partly_fake_clip_has_its_own_label():
    metas = [meta("id1", "RVFA", 0, w, audio_fake_periods="[[3.5, 9]]") for w in range(3)]
    made = Scores([m.key for m in metas], {"audio": np.array([0.1, 0.2, 0.6])})
    assert per_window(metas, made).label.tolist() == [0, 1, 1]
    assert pool(metas, made).label.tolist() == [1]


def test_runs_are_stacked():
    one, two = scores(audio=[0.1, 0.2, 0.6, 0.9, 0.4]), scores(audio=[0.3] * 5)
    both = stack([one, two])
    assert both.branch["audio"].shape == (2, 5)
    assert both.weights["audio"] == pytest.approx(one.weights["audio"])
    clips = pool(METAS, both)
    assert clips.scores["audio"] == pytest.approx(np.array([[0.1, 0.4, 0.9], [0.3, 0.3, 0.3]]))
    assert stack([Scores([], {"audio": np.zeros(1)})]).weights == {}
