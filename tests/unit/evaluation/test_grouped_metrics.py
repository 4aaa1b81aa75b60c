"""Metrics of scored clips, overall and by group."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc as area

from avdfd.evaluation.grouped_metrics import (
    FALSE_ALARMS,
    MIN_IDENTITIES,
    MISSES,
    TUNED,
    fit_on_validation,
    grouped_metrics,
)
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.metrics import calibration, roc
from tests.helpers.scored import BRANCHES, TIERS, made_up_clips

FAKES = [tier for tier in TIERS if tier != "RVRA"]


def metrics_of(clips, fitted=None, **changes):
    return grouped_metrics(clips, "fused", BRANCHES, fitted or {}, **{"replicates": 50, "seed": 0, **changes})


def few(tiers_and_scores, label_of=lambda tier: int(tier != "RVRA")):
    """Return clips scored by one audio branch, each of another identity."""
    tier = np.array([t for t, _ in tiers_and_scores], object)
    count = len(tier)
    names = np.array([f"id{i}" for i in range(count)], object)
    empty = np.full(count, "", object)
    facts = {"source": names, "tier": tier, "identities": names, "method": empty, "race": empty, "gender": empty}
    scores = {"audio": np.array([[s for _, s in tiers_and_scores]])}
    return ScoredClips(facts, np.array([label_of(t) for t in tier]), np.ones(count, int), np.zeros(count, bool), scores)


def test_each_tier_is_compared_with_the_real_clips_only():
    clips = few(
        [("RVRA", s) for s in (0.1, 0.3, 0.6)]
        + [("RVFA", s) for s in (0.7, 0.8, 0.9)]
        + [("FVRA", s) for s in (0.2, 0.2, 0.2)]
    )
    fitted = {"audio": {"eer_threshold": [0.65], "temperature": [None]}}
    result = grouped_metrics(clips, "audio", ["audio"], fitted, replicates=100, seed=0)
    assert list(result["tiers"]) == ["RVFA", "FVRA"]
    assert result["tiers"]["RVFA"]["audio"]["auc"] == 1.0
    assert result["tiers"]["FVRA"]["audio"]["auc"] == pytest.approx(1 / 3)
    assert result["overall"]["audio"]["auc"] == pytest.approx(2 / 3)
    assert result["tiers"]["RVFA"]["audio"]["balanced_accuracy"] == pytest.approx(5 / 6)
    assert result["tiers"]["RVFA"]["audio"][TUNED] == 1.0
    assert [result["overall"]["audio"][name] for name in (FALSE_ALARMS, MISSES)] == [0, pytest.approx(1 / 2)]
    assert "brier_calibrated" not in result["overall"]["audio"]
    assert (result["overall"]["clips"], result["overall"]["fake_clips"], result["overall"]["identities"]) == (9, 6, 9)
    assert result["overall"]["prevalence"] == pytest.approx(2 / 3)
    assert result["paired"] == {}


def test_a_section_has_the_metrics_of_its_clips():
    clips = made_up_clips()
    section = metrics_of(clips)["tiers"]["FVRA"]
    chosen = clips.where(np.isin(clips.tier, ("RVRA", "FVRA")))
    for branch in BRANCHES:
        scores = chosen.scores[branch][0]
        assert section[branch]["auc"] == roc.auc(chosen.label, scores)
        assert section[branch]["min_dcf"] == roc.min_dcf(chosen.label, scores)
        assert section[branch]["ece"] == calibration.ece(chosen.label, scores)
        assert section[branch]["brier"] == pytest.approx(((scores - chosen.label) ** 2).mean())
        low, high = section[branch]["brier_interval"]
        assert low < section[branch]["brier"] < high


def test_methods_are_compared_with_all_real_clips():
    clips = made_up_clips()
    clips.method[clips.tier == "RVFA"] = np.tile(["a", "b"], 6)
    methods = metrics_of(clips)["methods"]
    assert list(methods) == ["RVFA a", "RVFA b", "FVRA fvra-maker", "RVFA-SVC rvfa-svc-maker"]
    assert (methods["RVFA a"]["clips"], methods["RVFA a"]["fake_clips"]) == (12 + 6, 6)


@pytest.mark.parametrize("column", ["race", "gender"])
def test_a_planted_worst_group_is_found(column):
    clips = made_up_clips(identities=44)
    names = sorted(set(clips.facts[column]))
    for planted in names:
        hurt = clips.facts[column] == planted
        scores = clips.scores["fused"].copy()
        scores[0, hurt] = np.random.default_rng(0).permutation(scores[0, hurt])
        result = metrics_of(replace(clips, scores={**clips.scores, "fused": scores}))
        group = result["groups"][column]
        assert group["worst"] == planted
        worst = group["members"][planted]
        assert worst["clips"] == hurt.sum()
        low, high = worst["fused"]["auc_interval"]
        assert low < worst["fused"]["auc"] < high < 0.75
        assert planted in result["groups"]["race and gender"]["worst"]


def test_small_groups_are_shown_and_not_ranked():
    clips = made_up_clips(identities=30)
    rare = np.isin(clips.identity, ("id0", "id1"))
    clips.facts["race"][:] = np.where(rare, "rare", np.where(clips.facts["race"] == "Asian", "Asian", "African"))
    clips.scores["fused"][0, rare] = 1 - clips.label[rare]  # all scores are wrong, but of two identities only
    group = metrics_of(clips)["groups"]["race"]
    assert group["members"]["rare"] == {
        "clips": 16, "fake_clips": 12, "identities": 2, "windows": 32, "short_clips": 0,
        "prevalence": 0.75, "too_small": True,
    }  # fmt: skip
    assert group["worst"] in ("African", "Asian")
    alone = metrics_of(made_up_clips(identities=4))["groups"]
    assert all(g["worst"] is None for g in alone.values())
    clips.facts["race"][:] = "all"
    assert metrics_of(clips)["groups"]["race"]["worst"] is None, "of one group, none is the worst"


def test_a_group_of_fakes_alone_is_too_small():
    clips = made_up_clips(identities=24)
    clips.facts["race"][:] = np.where((clips.tier == "FVRA"), "fakes alone", "mixed")
    assert metrics_of(clips)["groups"]["race"]["members"]["fakes alone"]["too_small"]


def test_only_validation_is_fitted():
    validation, test = made_up_clips(identities=20, seed=1), made_up_clips(identities=20, seed=2)
    trained = dict.fromkeys(BRANCHES, FAKES)
    fitted = fit_on_validation(validation, trained)
    assert fitted["fused"]["temperature"] == [
        calibration.fit_temperature(validation.label, validation.scores["fused"][0])
    ]
    assert fitted["fused"]["prevalence"] == 0.75
    result = metrics_of(test, fitted)
    after = calibration.at_temperature(test.scores["fused"][0], fitted["fused"]["temperature"][0])
    assert result["overall"]["fused"]["brier_calibrated"] == pytest.approx(((after - test.label) ** 2).mean())
    assert result["calibration"]["fused"]["after"]["ece"] == pytest.approx(
        result["overall"]["fused"]["ece_calibrated"], abs=1e-6
    )
    # Other labels of the test: the calibrated scores are the same ones.
    flipped = replace(test, label=np.random.default_rng(0).permutation(test.label))
    again = metrics_of(flipped, fitted)["overall"]["fused"]
    assert again["brier_calibrated"] == pytest.approx(((after - flipped.label) ** 2).mean())


def test_unseen_tier_is_not_fitted():
    clips = made_up_clips(identities=20)
    moved = clips.scores["audio"].copy()
    moved[0, clips.tier == "FVRA"] = 0.999
    moved = replace(clips, scores={**clips.scores, "audio": moved})
    trained = {"audio": ["RVFA"], "visual": [], "fused": FAKES}
    assert fit_on_validation(clips, trained)["audio"] == fit_on_validation(moved, trained)["audio"]
    assert fit_on_validation(clips, trained)["audio"]["clips"] == 80
    assert set(fit_on_validation(clips, trained)) == {"audio", "fused"}, "nothing to choose by without fakes"


def test_differences_between_branches_and_systems():
    clips = made_up_clips((*BRANCHES, "other"), identities=20)
    pairs = metrics_of(clips, replicates=200)["paired"]
    assert list(pairs) == ["audio", "visual", "other"]
    assert list(pairs["other"]) == ["overall", *FAKES]
    assert pairs["audio"]["FVRA"]["difference"] > 0.1
    assert pairs["audio"]["FVRA"]["p"] < 0.05
    section = metrics_of(clips)["tiers"]["RVFA"]
    assert pairs["other"]["RVFA"]["difference"] == pytest.approx(section["fused"]["auc"] - section["other"]["auc"])


def test_several_runs_are_pooled():
    clips = made_up_clips(runs=3)
    fitted = fit_on_validation(clips, dict.fromkeys(BRANCHES, FAKES))
    assert [len(fitted["fused"][name]) for name in ("eer_threshold", "temperature")] == [3, 3]
    result = metrics_of(clips, fitted)
    each = [roc.auc(clips.label, scores) for scores in clips.scores["fused"]]
    assert result["overall"]["fused"]["auc"] == pytest.approx(np.mean(each))
    assert result["overall"]["fused"]["auc_deviation"] == pytest.approx(np.std(each, ddof=1))
    assert result["curves"]["roc_branches"]["fused"]["auc"] == pytest.approx(np.mean(each))
    assert sum(result["curves"]["distributions"]["RVFA"]) == pytest.approx(12)
    balanced = [
        roc.balanced_accuracy(clips.label, s, t)
        for s, t in zip(clips.scores["fused"], fitted["fused"]["eer_threshold"], strict=True)
    ]
    assert result["overall"]["fused"][TUNED] == pytest.approx(np.mean(balanced))


@pytest.mark.parametrize("clips", [made_up_clips(identities=200), made_up_clips(runs=2)], ids=["many", "runs"])
def test_points_are_on_the_curve(clips):
    points = metrics_of(clips, replicates=0)["curves"]["roc_branches"]["fused"]
    assert (points["fpr"][0], points["tpr"][0], points["fpr"][-1], points["tpr"][-1]) == (0, 0, 1, 1)
    assert area(points["fpr"], points["tpr"]) == pytest.approx(points["auc"], abs=0.003)
    assert len(points["fpr"]) <= 401


def test_all_of_it_is_json():
    result = metrics_of(made_up_clips(), windows=made_up_clips(identities=12))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["windows"]["clips"] == 96
    assert MIN_IDENTITIES > 6
    assert result["weight_audio"]["RVRA"]["values"] == sorted(result["weight_audio"]["RVRA"]["values"])


def test_short_clips_are_a_group_beside_longer_ones():
    clips = made_up_clips()
    assert "duration" not in metrics_of(clips, replicates=0)["groups"]
    clips.short[::2] = True
    found = metrics_of(clips, replicates=0)
    members = found["groups"]["duration"]["members"]
    assert {name: part["clips"] for name, part in members.items()} == {
        "shorter than a window": clips.short.sum(), "a window or more": (~clips.short).sum()
    }  # fmt: skip
    assert found["overall"]["short_clips"] == clips.short.sum()
