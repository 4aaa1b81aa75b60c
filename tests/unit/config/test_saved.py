"""Configs of runs that an earlier version saved, and the normalisation that belongs to an initialisation."""

import pytest

from avdfd.config import (
    AugmentConfig,
    AvffConfig,
    ConsistencyStageConfig,
    OptimConfig,
    PretrainConfig,
    SpeedConfig,
    TrainConfig,
    completed,
    completed_mouth,
    parse,
    parse_saved,
)
from avdfd.core.errors import UserError

COMMON = {"name": "x", "data": {"splits": "none", "fake_tiers": ["RVFA"]}}
WEIGHTS = {"weights": "w.pt"}


def train_config(visual, **more):
    return {**COMMON, "kind": "train", "audio": "none", "visual": visual, **more}


def avff_config(**model):
    return {**COMMON, "kind": "avff", "model": model}


@pytest.mark.parametrize(
    ("visual", "faithful", "expected"),
    [
        ({"init": "marlin", **WEIGHTS}, False, "unit"),
        ({"init": "marlin", **WEIGHTS}, True, "imagenet"),
        ({"init": "marlin", **WEIGHTS, "normalisation": "imagenet"}, False, "imagenet"),
        ({"init": "openavff", **WEIGHTS}, False, "imagenet"),
        ({"init": "random"}, False, "imagenet"),
        ({"init": "random", "normalisation": "unit"}, False, "unit"),
        ({}, False, "imagenet"),
    ],
)
def test_frames_are_normalised_as_for_the_initial_weights(visual, faithful, expected):
    loss = {"confidence": 0.0}
    cfg = parse(train_config(visual, faithful=faithful, loss=loss), TrainConfig, "test")
    assert cfg.visual.normalisation == cfg.model_dump()["visual"]["normalisation"] == expected


def test_avff_from_marlin_takes_rgb_over_255():
    assert parse(avff_config(), AvffConfig, "test").model.normalisation == "imagenet"
    marlin = {"marlin": {"file": "w.pt"}}
    assert parse(avff_config(**marlin), AvffConfig, "test").model.normalisation == "unit"
    assert parse(avff_config(**marlin, normalisation="imagenet"), AvffConfig, "test").model.normalisation == "imagenet"


def test_a_run_saved_before_the_key_existed_keeps_the_statistics_of_imagenet():
    for model, values in (
        (TrainConfig, train_config({"init": "marlin", **WEIGHTS})),
        (AvffConfig, avff_config(marlin={"file": "w.pt"})),
    ):
        old = parse_saved(values, model, "test")
        section = old.visual if isinstance(old, TrainConfig) else old.model
        assert section.normalisation == "imagenet"
        new = parse(values, model, "test").model_dump()
        assert completed(new) == new, "a config that states the key stays"


@pytest.mark.parametrize(
    ("direction", "anchors"), [({}, "equal"), ({"direction": "a2v"}, "equal"), ({"direction": "v2a"}, "own"),
                               ({"direction": "symmetric"}, "own")]
)  # fmt: skip
def test_a_run_saved_before_there_were_equal_anchors_keeps_its_own(direction, anchors):
    values = train_config({"init": "random"}, **direction)
    assert parse_saved(values, TrainConfig, "test").anchors == anchors
    new = parse(values, TrainConfig, "test")
    assert new.anchors == "equal"
    assert parse_saved(new.model_dump(), TrainConfig, "test") == new


def test_a_stage_2a_saved_before_there_were_components_takes_all_features():
    encoder = {"kind": "vit", "vit": {"init": "marlin", "weights": "w.pt", "sha256": "0" * 64}}
    values = {"kind": "consistency", "name": "x", "data": {"splits": "s"}, "model": {"representation": encoder}}
    assert parse_saved(values, ConsistencyStageConfig, "test").model.components == 0
    assert parse(values, ConsistencyStageConfig, "test").model.components == 120
    assert completed_mouth({"representation": encoder, "components": 8})["components"] == 8
    mouth = {**values, "model": {"tokens": 4}}
    assert completed(mouth) == mouth, "the mouth shape is taken as it is, whatever the number"


UNUSED = {
    "speed": {"compile": True, "checkpointing": True, "attention": "flash", "channels_last": True},
    "faithful": True,
    "augment": {"flip": 0.5, "shift": 3},
    "save_minutes": 1.0,
    "max_bad_steps": 1,
    "select": {"metric": "ap", "first_epoch": 2, "patience": 3},
    "data": {"splits": "s", "home": "memory", "decode": "cpu", "min_fake": 0.0, "balance_tiers": True, "workers": 1},
    "optim": {"epochs": 3, "precision": "fp32"},
}


def test_what_stage_2a_did_not_use_is_left_out_of_old_runs():
    values = {"kind": "consistency", "name": "x", **UNUSED}
    of_layers = {"speed": SpeedConfig(), "faithful": False, "augment": AugmentConfig()}
    fitted = parse_saved(values, ConsistencyStageConfig, "test")
    plain = {"select": {"metric": "ap"}, "data": {"splits": "s", "workers": 1}}
    assert fitted == parse({"name": "x", **plain}, ConsistencyStageConfig, "test")
    trained = parse_saved({**values, "method": "regression"}, ConsistencyStageConfig, "test")
    assert {key: getattr(trained, key) for key in of_layers} == of_layers
    assert (trained.data.min_fake, trained.data.balance_tiers) == (0.1, False)
    assert (trained.save_minutes, trained.select.patience, trained.optim.epochs, trained.data.home) == (
        1,
        3,
        3,
        "memory",
    )


def test_least_squares_on_an_encoder_keeps_the_precision_of_its_features():
    encoder = {"kind": "vit", "vit": {"init": "marlin", "weights": "w.pt", "sha256": "0" * 64}}
    values = {"kind": "consistency", "name": "x", **UNUSED, "model": {"representation": encoder}}
    old = parse_saved(values, ConsistencyStageConfig, "test")
    assert (old.optim, old.data.home) == (OptimConfig(precision="fp32"), "memory")
    assert parse_saved(old.model_dump(), ConsistencyStageConfig, "test") == old


def test_what_had_no_effect_with_three_branches_is_left_out_of_old_runs():
    of_two = {"align": 0.1, "margin": 0.2}
    values = train_config({"init": "random"}, consistency={"init": "2a"}, audio_lr_scale=0.5)
    with pytest.raises(UserError, match="loss.align is of the released design"):
        parse({**values, "loss": of_two}, TrainConfig, "test")
    old = parse_saved({**values, "loss": {**of_two, "consistency": 2.0}}, TrainConfig, "test")
    assert (old.loss.align, old.loss.margin, old.loss.consistency, old.audio_lr_scale) == (0.5, 0.5, 2.0, 0.0)
    new = parse({**values, "loss": {"audio": 1.0}}, TrainConfig, "test")
    assert parse_saved(new.model_dump(), TrainConfig, "test") == new
    two = train_config({"init": "random"}, loss=of_two)
    assert parse_saved(two, TrainConfig, "test").loss.align == 0.1


def test_a_damaged_saved_config_is_named():
    assert completed({"kind": ["train"]}) == {"kind": ["train"]}
    with pytest.raises(UserError, match="old: key 'visual' is 3"):
        parse_saved(train_config(3), TrainConfig, "old")


def test_a_stage_1_that_was_told_to_augment_frames_did_not():
    values = {**COMMON, "kind": "pretrain", "augment": {"flip": 0.5, "mel_noise": 0.1}}
    with pytest.raises(UserError, match=r"stage 1 takes no frames: set augment\.flip to 0"):
        parse(values, PretrainConfig, "test")
    assert parse_saved(values, PretrainConfig, "test").augment == AugmentConfig(mel_noise=0.1)


def test_what_stage_1_did_not_use_is_left_out_of_old_runs():
    fitting = {"fit_c": 0.1, "fit_whiten": [0.1, 0.3], "fit_families": "old.csv"}
    model = {"patches": "statistics", "dim": 8, "depth": 0}
    trained = parse_saved({**COMMON, "kind": "pretrain", "model": model, **fitting}, PretrainConfig, "test")
    assert trained == parse({**COMMON, "model": model}, PretrainConfig, "test")
    new = {**COMMON, "kind": "pretrain", "model": {**model, "score": "fitted"}, **fitting}
    assert completed(new) == new, "what has an effect stays"
