"""Configs are strict, errors name the fault, and some code reads every key."""

import json
import re
from typing import Any

import pytest

from avdfd import config
from avdfd.baselines import SYSTEMS
from avdfd.config import (
    AblationConfig,
    CloneConfig,
    ConsistencyStageConfig,
    ParityConfig,
    PreprocessConfig,
    PretrainConfig,
    ResynthesisConfig,
    SearchConfig,
    TrainConfig,
    loading,
)
from avdfd.core.errors import UserError
from tests.paths import ROOT

PREPARE = {
    "preprocess": PreprocessConfig,
    "parity": ParityConfig,
    "clone": CloneConfig,
    "resynthesis": ResynthesisConfig,
}
KINDS = {**PREPARE, "search": SearchConfig, "ablation": AblationConfig, **config.RUNS}
SHIPPED = sorted((ROOT / "config").rglob("*.json"))
TRAIN = {"kind": "train", "name": "x", "audio": "runs/a", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}
THREE = {"consistency": {"init": "runs/2a"}}


@pytest.fixture
def write(tmp_path):
    def write(values):
        path = tmp_path / "c.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return path

    return write


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_shipped_configs_load(path):
    kind = json.loads(path.read_text())["kind"]
    assert config.load(path, KINDS[kind]).kind == kind


def test_defaults_are_the_published_sizes():
    stage1 = config.load(ROOT / "config/pretrain.json", PretrainConfig)
    assert stage1.model == config.AudioModelConfig()
    assert stage1.optim == config.OptimConfig()
    stage2 = config.load(ROOT / "config/train.json", TrainConfig)
    assert (stage2.visual.image_size, stage2.visual.dim, stage2.visual.depth) == (224, 768, 12)


def test_every_key_is_read():
    code = "".join(p.read_text() for folder in ("avdfd", "data") for p in (ROOT / folder).rglob("*.py"))
    code += "".join(p.read_text() for p in ROOT.glob("*.py"))
    code += "".join(f" cfg.{stage}" for system in SYSTEMS.values() for stage in system.STAGES)  # read by name
    unread = [
        key
        for model in KINDS.values()
        for key in loading.keys_of(model)
        if not re.search(rf"\.{key.rpartition('.')[2]}\b", code)
    ]
    assert unread == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optim": {"lrr": 1.0}}, "unknown key 'optim.lrr': did you mean 'optim.lr'?"),
        ({"optin": {}}, "unknown key 'optin': did you mean 'optim'?"),
        ({"optim": {"epochs": "ten"}}, "key 'optim.epochs' is \"ten\": input should be a valid integer"),
        ({"optim": {"epochs": 2.5}}, "key 'optim.epochs' is 2.5"),
        ({"optim": {"batch_size": -4}}, "key 'optim.batch_size' is -4: input should be greater than 0"),
        ({"name": ""}, "'' is no name of a folder"),
        ({"name": "/abs"}, "'/abs' is no name of a folder"),
        ({"name": "../x"}, "'../x' is no name of a folder"),
        ({"faithful": 1}, "key 'faithful' is 1: input should be a valid boolean"),
        ({"data": {"splits": "s", "fake_tiers": ["RVFB"]}}, "unknown tier 'RVFB': use one of RVRA"),
        ({"data": {"splits": "s", "fake_tiers": ["RVRA"]}}, "fake_tiers lists fake tiers only"),
        ({"data": {"fake_tiers": ["RVFA"]}}, "key 'data.splits' is missing"),
        (
            {"data": {"splits": "s", "fake_tiers": ["RVFA"], "validation_tiers": []}},
            "validation_tiers lists fake tiers",
        ),
        (
            {"data": {"splits": "s", "fake_tiers": ["RVFA"], "validation_tiers": ["VC"]}},
            "unknown tier 'VC': use one of",
        ),
        ({"visual": {"init": "marlin"}}, "init 'marlin' needs weights"),
        ({"visual": {"init": "random", "weights": "w.pt"}}, "weights is unused when init is 'random'"),
        ({"visual": {"init": "random", "image_size": 100}}, "image_size 100 must be a multiple of the patch size 16"),
        ({"visual": {"init": "random", "sha256": "00"}}, "sha256 is unused without weights"),
        ({"direction": "both"}, "key 'direction' is \"both\": input should be 'a2v', 'v2a' or 'symmetric'"),
        ({"fusion": "mean"}, "key 'fusion' is \"mean\": input should be 'learned', 'fixed' or 'visual'"),
        ({"faithful": True, "direction": "v2a"}, "the released code predicts a2v and learns its fusion"),
        ({"faithful": True, "synchrony": {}}, "the released code does not learn synchrony"),
        ({"fusion": "fixed", "loss": {"confidence": 2.0}}, "loss.confidence supervises a learned fusion: leave it out"),
        ({"loss": {"audio": 1.0}}, "loss.audio is for three branches: set consistency, or leave it out"),
        ({**THREE, "loss": {"align": 0.1}}, "loss.align is of the released design: leave it out, or set consistency"),
        ({**THREE, "loss": {"margin": 0.1}}, "loss.margin is of the released design"),
        ({**THREE, "predictor": {"depth": 3}}, "predictor is of the released design"),
        ({**THREE, "audio_lr_scale": 0.1}, "audio_lr_scale: with three branches only loss.audio reaches"),
        ({"keep_tokens": 0.5}, "keep_tokens is for three branches: set consistency, or leave it out"),
        ({**THREE, "keep_tokens": 0.5, "backbone_lr_scale": 0.0}, "keep_tokens is of a trained backbone: leave it out"),
        ({**THREE, "loss": {"audio": 1.0}}, "loss.audio trains the audio branch: set audio_lr_scale above 0"),
        ({"anchors": "own"}, "anchors: direction a2v has one anchor, its own: leave anchors out"),
        ({"faithful": True, "discrepancy": False}, "the released code has no such control"),
        ({"faithful": True, "predictor": {"zeros": True}}, "the released code has no such control"),
        ({"faithful": True, "audio_lr_scale": 0.1}, "audio_lr_scale: the released code freezes the audio branch"),
        ({"faithful": True, "cache": True}, "cache: the released code has dropout in the frozen audio branch"),
        ({"faithful": True}, "loss.confidence: the released code does not supervise its fusion: set it to 0"),
        ({"synchrony": {}, "direction": "v2a"}, "predicted and actual mouths, and direction v2a predicts none"),
        (
            {"synchrony": {}, "cache": True, "backbone_lr_scale": 0.0},
            "set synchrony.out_of_step, synchrony.turned to 0",
        ),
        ({"synchrony": {"weight": 0}}, "key 'synchrony.weight' is 0: input should be greater than 0"),
        ({"select": {"first_epoch": 51}}, "select.first_epoch 51 is more than the 50 that are allowed here"),
        ({"select": {"metric": "page_auc"}}, "select.metric page_auc is computed in stage 1 only"),
    ],
)
def test_wrong_values_are_named(write, change, message):
    path = write({**TRAIN, **change})
    with pytest.raises(UserError) as error:
        config.load(path, TrainConfig)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "weight"),
    [
        ({}, 0.0),
        (THREE, 1.0),
        ({**THREE, "loss": {"consistency": 1.0}}, 1.0),
        ({**THREE, "loss": {"picture": 0.5}}, 0.5),
        ({**THREE, "without": "picture"}, 0.0),
    ],
)
def test_a_picture_branch_is_trained(change, weight):
    assert config.parse({**TRAIN, **change}, TrainConfig, "c.json").loss.model_dump()["picture"] == weight


STAGE2A: dict[str, Any] = {"name": "x", "data": {"splits": "s"}}
ON_ENCODER = {
    "model": {"representation": {"kind": "av-hubert", "avhubert": {"file": "a.pt", "sha256": "0" * 64}}},
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim": {"epochs": 3}}, "optim.epochs: least-squares takes no steps: leave it out, or set method"),
        ({"optim": {"precision": "fp32"}}, "optim.precision: least-squares takes no steps"),
        ({"select": {"first_epoch": 2}}, "select.first_epoch: least-squares takes no steps"),
        ({"select": {"patience": 2}}, "select.patience: least-squares takes no steps"),
        ({"save_minutes": 1.0}, "save_minutes: least-squares takes no steps"),
        ({"max_bad_steps": 1}, "max_bad_steps: least-squares takes no steps"),
        ({"data": {"splits": "s", "home": "memory"}}, "data.home: least-squares reads audio and mouth shapes from"),
        ({"data": {"splits": "s", "decode": "cpu"}}, "data.decode: least-squares reads audio and mouth shapes from"),
    ],
)
def test_what_least_squares_does_not_use_is_refused(values, message):
    with pytest.raises(UserError, match=f"^c.json: {message}"):
        config.parse({**STAGE2A, **values}, ConsistencyStageConfig, "c.json")
    trained = config.parse({**STAGE2A, **values, "method": "info-nce"}, ConsistencyStageConfig, "c.json").model_dump()
    for key, value in values.items():
        assert trained[key] == value if not isinstance(value, dict) else value.items() <= trained[key].items()


def test_least_squares_on_an_encoder_uses_what_its_features_need():
    used = {"optim": {"precision": "fp32"}, "data": {"splits": "s", "home": "memory"}, "select": {"metric": "ap"}}
    cfg = config.parse({**STAGE2A, **ON_ENCODER, **used}, ConsistencyStageConfig, "c.json")
    assert (cfg.optim.precision, cfg.data.home, cfg.select.metric) == ("fp32", "memory", "ap")
    with pytest.raises(UserError, match=r"optim.lr: least-squares takes no steps"):
        config.parse({**STAGE2A, **ON_ENCODER, "optim": {"lr": 0.1}}, ConsistencyStageConfig, "c.json")


def test_stage_2a_augments_no_frames():
    values = {**STAGE2A, "method": "info-nce", "augment": {"flip": 0.5, "shift": 3}}
    with pytest.raises(UserError, match=r"stage 2a is trained on no frames: set augment\.flip, augment\.shift to 0"):
        config.parse(values, ConsistencyStageConfig, "c.json")


@pytest.mark.parametrize("method", ["least-squares", "info-nce", "regression"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": {"compile": True}}, "speed.compile: has no effect on stage 2a's few small layers: leave it out"),
        ({"speed": {"checkpointing": True}}, "speed.checkpointing: has no effect"),
        ({"speed": {"attention": "flash"}}, "speed.attention: has no effect"),
        ({"speed": {"graphs": True}}, "speed.graphs: has no effect"),
        ({"speed": {"channels_last": True}}, "speed.channels_last: has no effect"),
        ({"faithful": True}, "faithful: the released code has no stage 2a: leave it out"),
        ({"data": {"splits": "s", "min_fake": 0.5}}, "data: min_fake: this stage takes real clips alone: leave it out"),
        ({"data": {"splits": "s", "balance_tiers": True}}, "data: balance_tiers: this stage takes real clips alone"),
    ],
)
def test_what_stage_2a_does_not_use_is_refused(method, values, message):
    with pytest.raises(UserError, match=f"^c.json: {message}"):
        config.parse({**STAGE2A, "method": method, **values}, ConsistencyStageConfig, "c.json")


def test_what_is_off_is_accepted_in_stage_2a():
    """As an override for all stages: channels_last false for runs that repeat bit by bit."""
    off = {"compile": False, "checkpointing": False, "graphs": False, "channels_last": False, "attention": "auto"}
    assert config.parse({**STAGE2A, "speed": off}, ConsistencyStageConfig, "c.json").speed.channels_last is False


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"spectra": [256]}, "input 'waveform' and spectra go together"),
        ({"input": "waveform"}, "input 'waveform' and spectra go together"),
        ({"input": "waveform", "spectra": [256]}, "set patches to 'statistics'"),
        ({"score": "fitted"}, "score 'fitted' is a function of statistics: set patches to 'statistics'"),
        ({"input": "waveform", "patches": "statistics", "spectra": [300]}, "key 'model.spectra.0' is 300"),
        (
            {"input": "waveform", "patches": "statistics", "spectra": [2048], "patch_frames": 4},
            "patch_frames 4 must be a multiple",
        ),
    ],
)
def test_impossible_spectra(model, message):
    with pytest.raises(UserError, match=re.escape(message)):
        config.parse({"name": "x", "data": TRAIN["data"], "model": model}, PretrainConfig, "c.json")


STATISTICS = {"input": "waveform", "patches": "statistics", "spectra": [256]}


@pytest.mark.parametrize(
    ("key", "value"), [("fit_c", 0.1), ("fit_c", [0.1, 1.0]), ("fit_whiten", 0.3), ("fit_families", "table.csv")]
)
def test_a_trained_score_is_not_fitted(key, value):
    values = {"name": "x", "data": TRAIN["data"], "model": STATISTICS, key: value}
    with pytest.raises(UserError, match=f"^c.json: {key} has no effect on a trained score: leave it out, or set model"):
        config.parse(values, PretrainConfig, "c.json")
    values["model"] = {**STATISTICS, "score": "fitted"}
    assert getattr(config.parse(values, PretrainConfig, "c.json"), key) == value


def test_any_width_will_do_without_layers():
    values = {"name": "x", "data": TRAIN["data"], "model": {**STATISTICS, "depth": 0, "dim": 6}}
    assert config.parse(values, PretrainConfig, "c.json").model.dim == 6
    values["model"]["depth"] = 1
    with pytest.raises(UserError, match="dim 6 must be a multiple of heads 4"):
        config.parse(values, PretrainConfig, "c.json")


FRONT = {"kind": "whisper", "arch": "tiny", "file": "x", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"front": {**FRONT, "layers": "learn"}}},
            "'model.front.layers' is \"learn\": input should be 'all' or 'learned', or input should be a valid list",
        ),
        ({"speed": {"channels_last": 2}}, "key 'speed.channels_last' is 2: input should be 'auto', or input should be"),
        ({"model": {"front": {**FRONT, "layer": [1]}}}, "'model.front.layer': did you mean 'model.front.layers'?"),
        ({"augment": {"waveform": {"nois": 1}}}, "'augment.waveform.nois': did you mean 'augment.waveform.noise'?"),
        ({"augment": {"wave form": {}}}, "unknown key 'augment.wave form': did you mean 'augment.waveform'?"),
        ({"augment": {"waveform": {"rt60": [1e-5, 0.1], "reverberation": 1.0}}}, "rt60: reverberation times are from"),
        ({"augment": {"waveform": {"band_edge": [1.0, 80.0], "band": 1.0}}}, "band_edge: band edges are from 100 to"),
        (
            {"augment": {"waveform": {"codec": 1.0, "codecs": [{"name": "opus", "bit_rate": 300_000}]}}},
            "augment.waveform.codecs.0: bit_rate 300000: opus takes 500 to 256000 bits per second",
        ),
    ],
)
def test_wrong_values_of_optional_sections_are_named(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        config.parse({"name": "x", "data": TRAIN["data"], **change}, PretrainConfig, "c.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "a config is one JSON object"),
        ('{"kind": "pretrain"}', 'kind is "pretrain"'),
    ],
)
def test_wrong_files(write, text, message):
    with pytest.raises(UserError, match=message):
        config.load(write(text), TrainConfig)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        config.load(tmp_path / "none.json", TrainConfig)


def test_overrides(write):
    overrides = ["--optim.lr=1e-3", "--name=other", '--data.fake_tiers=["FVRA"]', "--loss.align=0"]
    cfg = config.load(write({**TRAIN, "optim": {"epochs": 7}}), TrainConfig, overrides=overrides)
    assert (cfg.optim.lr, cfg.name, cfg.data.fake_tiers, cfg.loss.align) == (1e-3, "other", ["FVRA"], 0)
    # Keys that the override does not name keep what the file or the default says.
    assert (cfg.optim.epochs, cfg.optim.batch_size) == (7, 32)


@pytest.mark.parametrize("override", ["optim.lr=1", "--optim.lr", "--=3", "--name.x=1"])
def test_wrong_overrides(write, override):
    with pytest.raises(UserError, match=re.escape(override)):
        config.load(write(TRAIN), TrainConfig, overrides=[override])


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (PreprocessConfig, {"input": "x", "workers": 1025}, "workers.*less than or equal to 1024"),
        (PreprocessConfig, {"input": "x", "media": {"hop": 1e-9}}, "media.hop.*greater than or equal to 0.04"),
        (ParityConfig, {"input": "x", "output": "y", "chain": {"rate": 10**9}}, "chain.rate.*less than or equal to"),
        (ParityConfig, {"input": "x", "output": "y", "chain": {"bit_rate": 10**12}}, "chain.bit_rate.*less than or"),
        (ParityConfig, {"input": "x", "output": "y", "chain": {"edge_silence": [0.0, 1e9]}}, "edge_silence.*less than"),
        (
            SearchConfig,
            {"name": "s", "config": "c", "grid": {key: [*range(100)] for key in "abc"}},
            "give 1000000 runs, more than 10000",
        ),
        (SearchConfig, {"name": "s", "config": "c", "random": {"a": [1, 2]}, "trials": 10**9}, "give 1000000000 runs"),
        (
            AblationConfig,
            {"name": "a", "pretrain": "p", "train": "t", "rows": {"full": {}}, "seeds": [*range(10_001)]},
            "give 10001 runs",
        ),
    ],
)
def test_ceilings(model, values, message):
    with pytest.raises(UserError, match=message):
        config.parse(values, model, source="c.json")
