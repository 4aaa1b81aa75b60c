"""The branches that carry a tier, and the side of consistency."""

import numpy as np

from avdfd.evaluation.carriers import carried, less_in_sync
from avdfd.evaluation.grouped_metrics import grouped_metrics
from tests.helpers.scored import THREE, made_up_clips


def metrics(**aucs):
    return {name: {"auc": (low + high) / 2, "auc_interval": [low, high]} for name, (low, high) in aucs.items()}


def test_the_interval_decides_which_branch_carries_a_tier():
    tiers = {
        "RVFA": metrics(audio=(0.9, 1), consistency=(0.45, 0.6)),
        "FVRA": metrics(audio=(0.51, 0.6), consistency=(0.6, 0.8)),
        "FVFA": metrics(audio=(0.2, 0.4), consistency=(0.1, 0.2)),
    }
    assert carried(tiers, ["audio", "consistency"]) == {
        "RVFA": {"above": ["audio"], "below": []},
        "FVRA": {"above": ["consistency", "audio"], "below": []},
        "FVFA": {"above": [], "below": ["consistency", "audio"]},
    }
    assert carried(tiers, []) is None
    tiers["RVFA"]["audio"]["auc_interval"] = None
    assert carried(tiers, ["audio", "consistency"]) is None


def test_three_branches_of_scored_clips():
    clips = made_up_clips(THREE)
    result = grouped_metrics(clips, "fused", THREE, {}, replicates=50, seed=0)
    assert result["carried"]["RVFA"] == {"above": ["audio"], "below": []}
    assert result["carried"]["FVRA"] == {"above": ["consistency"], "below": []}
    assert list(result["less_in_sync"]) == ["overall", *result["tiers"]]
    assert result["less_in_sync"]["FVRA"]["auc"] > 0.8
    assert {f"weight_{name}" for name in THREE[:3]} <= result.keys()


def test_more_in_sync_than_real_clips_is_below_a_half():
    clips = made_up_clips(THREE)
    fvra = clips.where((clips.tier == "FVRA") | (clips.tier == "RVRA"))
    fvra.log_ratio[:] = np.where(fvra.tier == "FVRA", 2.0, 1.0)
    assert less_in_sync({"FVRA": fvra}, replicates=20, seed=0)["FVRA"]["auc"] == 0
    assert less_in_sync({"FVRA": made_up_clips()}, replicates=0, seed=0) is None
