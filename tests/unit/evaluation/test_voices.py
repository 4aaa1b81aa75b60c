"""Distances and map of voices in stage 1, and messages if stage 1 is missing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import Batch
from avdfd.evaluation.voices import Placing, distances, placing, plane, summarise
from avdfd.inference.runs import load_run, trained_under
from avdfd.report import voices
from avdfd.training import weights
from tests.helpers.runs import make_both_stages, make_run
from tests.helpers.scored import made_up_clips

DRAWN = {"replicates": 50, "seed": 0}


def set_config(run, **changes):
    """Write another config into the weights of a run."""
    facts, model = weights.load(run / BEST, "pretrain", "train")
    cfg = facts.config.model_copy(update=changes)
    weights.save(run / BEST, model, facts.model_copy(update={"config": cfg}))


def batch_of(run):
    video = torch.zeros(2, 3, 16, 32, 32, dtype=torch.uint8) if run.inputs.image_size else None
    return Batch(
        mel=torch.randn(2, 128, 768),
        video=video,
        label=torch.zeros(2),
        fake_modalities=torch.zeros(2, 2),
        audio_class=torch.zeros(2),
    )


def placed(tiers, values, identities=None, embedding=None):
    """Clips with these distances."""
    clips = made_up_clips(identities=len(values) // 2)
    size = len(values)
    clips = clips.where(np.arange(len(clips)) < size)
    identities = np.array(identities or [f"id{i}" for i in range(size)], object)
    return replace(
        clips,
        facts={**clips.facts, "tier": np.array(tiers, object), "identities": identities},
        distance=np.array(values, float),
        embedding=np.array(embedding if embedding is not None else np.eye(size), float),
    )


# ---- which runs say it


@pytest.mark.parametrize("stage", [1, 2])
def test_scores_include_the_embedding_of_stage_1(tmp_path, stage):
    run = load_run(make_both_stages(tmp_path)[stage - 1], "cpu")
    found = placing([run])
    assert found.about == {"stage1": [str(tmp_path / "pretrain")], "margin": 0.2, "trained_tiers": ["RVRA", "RVFA"]}
    net = load_run(tmp_path / "pretrain", "cpu").model
    batch = batch_of(run)
    with torch.inference_mode():
        columns, z = found.runs[0].columns(batch), net(batch.mel).z
        before = run.columns(batch)
    assert torch.equal(columns["embedding"], z)
    assert columns["distance"].tolist() == pytest.approx((z - net.prototype).square().sum(1).sqrt().tolist())
    assert all(torch.equal(columns[name], values) for name, values in before.items())
    assert found.prototype.tolist() == net.prototype.tolist()


def test_a_moved_stage_1_is_reported_as_missing(tmp_path):
    stage1, path = make_both_stages(tmp_path)
    stage1.rename(tmp_path / "elsewhere")
    run = load_run(path, "cpu")
    found = placing([run])
    assert found.runs == [run]
    assert f"{stage1}: stage 1 of {path} is missing" in found.about["missing"]
    assert summarise(made_up_clips(), found, **DRAWN) == found.about


def test_a_stage_1_that_was_trained_again_is_not_taken(tmp_path):
    stage1, path = make_both_stages(tmp_path)
    facts, model = weights.load(stage1 / BEST, "pretrain")
    weights.save(stage1 / BEST, {k: v + 0.1 if "patch_proj" in k else v for k, v in model.items()}, facts)
    assert "has another encoder than" in placing([load_run(path, "cpu")]).about["missing"]


def test_an_audio_branch_that_stage_2_has_trained_has_no_embedding(tmp_path):
    _, path = make_both_stages(tmp_path)
    set_config(path, audio_lr_scale=0.5)
    assert "its audio branch was trained on in stage 2" in placing([load_run(path, "cpu")]).about["missing"]


def test_one_seed_without_stage_1_is_enough_to_miss_it(tmp_path):
    runs = [load_run(make_both_stages(tmp_path / name)[1], "cpu") for name in "ab"]
    assert "missing" not in placing(runs).about
    (tmp_path / "b" / "pretrain").rename(tmp_path / "elsewhere")
    assert "b/pretrain: stage 1 of" in placing(runs).about["missing"]


def test_a_baseline_has_none(tmp_path):
    run = replace(load_run(make_run(tmp_path, "train"), "cpu"), audio_branch=None)
    assert placing([run]) == Placing([run], None)
    assert summarise(made_up_clips(), placing([run]), **DRAWN) is None


def test_an_untrained_embedding_is_not_shown(tmp_path):
    path = make_run(tmp_path, "pretrain")
    loss = load_run(path, "cpu").config.loss
    set_config(path, loss=loss.model_copy(update={"ordinal": 0.0}))
    found = placing([load_run(path, "cpu")])
    assert found.about["margin"] is None
    result = summarise(placed(["RVRA", "RVRA", "RVFA", "RVFA"], [1, 1, 2, 2]), found, **DRAWN)
    assert result["map"]["prototype"] is None
    assert "tiers" not in result
    assert "without the ordinal loss" in voices.voices_sentence({"voices": result})
    set_config(path, loss=loss.model_copy(update={"ordinal": 0.0, "supcon": 0.0}))
    assert "without contrastive and ordinal loss" in placing([load_run(path, "cpu")]).about["missing"]


def test_a_damaged_stage_1_is_refused_as_before(tmp_path):
    stage1, path = make_both_stages(tmp_path)
    run = load_run(path, "cpu")
    (stage1 / BEST).write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        trained_under(run)
    assert "damaged" in placing([run]).about["missing"]


# ---- what is made of it


def test_distances_are_means_by_tier_and_steps_go_outwards():
    names = ["RVRA", "RVFA-SVC", "RVFA-VC", "RVFA", "FVRA", "FVFA"]
    values = [0.1, 0.3, 0.5, 0.6, 0.7, 0.9, 1.1, 1.2, 0.2, 0.2, 0.9, 1.0]
    found = distances(placed(np.repeat(names, 2), values, identities=["a", "b"] * 6), replicates=200, seed=0)
    assert list(found["tiers"]) == names
    assert [of["distance"] for of in found["tiers"].values()] == pytest.approx([0.2, 0.55, 0.8, 1.15, 0.2, 0.95])
    assert found["tiers"]["RVRA"]["distance_interval"] == pytest.approx([0.1, 0.3])  # of two identities
    assert found["tiers"]["RVRA"]["beyond"] is None
    assert found["tiers"]["FVRA"]["beyond"]["difference"] == pytest.approx(0)
    assert found["tiers"]["FVFA"]["beyond"]["difference"] == pytest.approx(0.75)
    assert found["tiers"]["FVFA"]["values"] == [0.9, 1.0]
    assert [(step["near"], step["far"]) for step in found["steps"]] == [*pairwise(names[:4])]
    assert found["steps"][0]["difference"] == pytest.approx(0.35)
    assert found["steps"][0]["interval"] == pytest.approx([0.3, 0.4])  # identities are drawn for both tiers at once
    assert found["ordered"] is True


def test_the_pair_that_breaks_the_order_is_named():
    tiers = np.repeat(["RVRA", "RVFA-SVC", "RVFA"], 2)
    found = distances(placed(tiers, [0.1, 0.1, 0.9, 0.8, 0.5, 0.6], identities=["a", "b"] * 3), **DRAWN)
    assert found["ordered"] is False
    line = voices.voices_sentence({"voices": {**found, "margin": 0.2, "trained_tiers": ["RVRA", "RVFA"], "map": None}})
    assert line.startswith("Order of voices by distance to the prototype: no. RVRA 0.100 < RVFA-SVC 0.850 ≥ RVFA 0.550")
    assert "; reversed: RVFA-SVC to RVFA -0.300 [-0.400, -0.200]." in line


def test_a_step_that_may_be_chance_is_reported():
    found = distances(placed(np.repeat(["RVRA", "RVFA"], 2), [0.1, 0.5, 0.3, 0.4], identities=["a", "b"] * 2), **DRAWN)
    line = voices.voices_sentence({"voices": {**found, "margin": 0.2, "trained_tiers": ["RVRA", "RVFA"], "map": None}})
    assert found["ordered"] is True
    assert "yes. RVRA 0.300 < RVFA 0.350; uncertain: RVRA to RVFA +0.050 [-0.100, +0.200] (may be chance)." in line


def test_one_person_has_no_interval_and_one_class_no_order():
    found = distances(placed(["RVRA", "RVRA", "FVRA"], [0.1, 0.2, 0.3], identities=["a"] * 3), **DRAWN)
    assert found["tiers"]["RVRA"]["distance_interval"] is None
    assert found["tiers"]["FVRA"]["beyond"] == {"difference": pytest.approx(0.15), "interval": None}
    assert (found["steps"], found["ordered"]) == ([], None)
    line = voices.voices_sentence({"voices": {**found, "margin": 0.2, "trained_tiers": ["RVRA"], "map": None}})
    assert "not known, as RVRA is the only one of its classes here." in line


def test_the_plane_is_that_of_the_largest_variance():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(40, 6)) * [9, 1, 5, 1, 1, 1]
    tier, prototype = np.repeat(["RVRA", "RVFA"], 20), rng.normal(size=6)
    found = plane(tier, embedding, prototype)
    centre = embedding - embedding.mean(0)
    _, singular, axes = np.linalg.svd(centre, full_matrices=False)
    points = np.array([*found["tiers"]["RVRA"], *found["tiers"]["RVFA"]])
    assert np.abs(points) == pytest.approx(np.abs(centre @ axes[:2].T), abs=1e-5)
    assert found["explained"] == pytest.approx(list((singular**2 / (singular**2).sum())[:2]))
    assert np.abs(found["prototype"]) == pytest.approx(np.abs((prototype - embedding.mean(0)) @ axes[:2].T), abs=1e-5)
    assert plane(tier, embedding, prototype) == found  # the signs, too


def test_voices_that_are_all_the_same_are_on_no_plane():
    assert plane(np.array(["RVRA", "RVFA"]), np.ones((2, 5)), None) is None


def test_many_clips_are_thinned_out_for_the_figures():
    tier, values = np.repeat(["RVRA", "RVFA"], 500), np.random.default_rng(0).normal(size=(1000, 3))
    assert {name: len(of) for name, of in plane(tier, values, None)["tiers"].items()} == {"RVRA": 200, "RVFA": 200}
